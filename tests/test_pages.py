"""Pages keep their promises: links lead somewhere, commands exist, examples run."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from crank2_unet import __all__ as public
from crank2_unet import __version__
from crank2_unet.cli.arguments import make_parser
from crank2_unet.jobs.phase import run_phase

ROOT = Path(__file__).parents[1]
PAGES = [page for pattern in ("*.md", "docs/*.md", "models/*.md", "examples/**/*.md",
                              "parrot_patch/*.md") for page in ROOT.glob(pattern)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_readme_is_short_and_its_commands_are_single_lines():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.sub(r"<!--.*?-->|[`|#*]", " ", text).split()) < 700
    for name in ("first", "second"):
        block = re.search(rf"<!-- {name} -->\n```\n(.*?)```\n<!-- end -->", text, re.S)
        assert block and block[1].count("\n") == 1


def commands():
    for page in PAGES:
        for line in re.findall(r"crank2-unet [a-z][^`\n&|]*", page.read_text(encoding="utf-8")):
            if page.name != "CHANGELOG.md":
                yield page.name, line


def test_options_in_pages_exist():
    """Every option of a command that a page shows is known to that command."""
    known = {}
    for page, line in commands():
        words = line.split()
        names = [word for word in words[1:3] if re.fullmatch("[a-z-]+", word)]
        if names[:1] == ["model"]:
            names = names[:2]
        else:
            names = names[:1]
        key = tuple(names)
        if key not in known:
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), \
                    pytest.raises(SystemExit):
                make_parser().parse_args([*names, "--help"])
            known[key] = out.getvalue()
        if names[:2] == ["model", "train"] or not known[key].startswith("usage: crank2-unet "):
            continue  # parsed by its own module; or words of a sentence, not a command
        ours = re.split(" -- | # ", line)[0]
        for option in re.findall(r"(?<=\s)--[a-z][a-z-]+", ours):
            assert option in known[key], f"{page}: {line}"


def test_versions_agree():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {__version__} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_page_installs_by_a_name_that_no_index_has():
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").split("\n"):
            assert not re.search(r"pip install [^&]*\bcrank2-unet\b", line), f"{page.name}: {line}"


def test_public_names_are_all_on_the_page():
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert [name for name in public if f"`{name}`" not in page] == []


@pytest.mark.slow
def test_the_python_of_the_page_runs(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.S)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    run_phase("examples/example.mtz", "out/phase", "examples/sites.pdb", "Se")
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), {})
    said = capsys.readouterr().out
    assert "solvent content 0.5" in said and "figure of merit 0." in said
    assert (tmp_path / "dm.mtz").exists() and (tmp_path / "mask.ccp4").exists()
