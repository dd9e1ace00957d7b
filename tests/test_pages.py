"""Pages keep their promises: links lead somewhere, commands exist, examples run."""

import argparse
import importlib
import re
import shlex
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


def commands(path):
    """Command lines of a page or a script, and whether each is complete: in a block of its own, not
    within a sentence or a table."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    if path.suffix != ".md":
        yield from ((line, True) for line in re.findall(r"^# +crank2-unet (.*)", text, re.M))
        return
    block = re.compile(r"^ *```[a-z]*\n(.*?)^ *```", re.M | re.S)
    for lines in block.findall(text):
        yield from ((line, True) for line in re.findall(r"^ *crank2-unet (.*)", lines, re.M))
    for line in re.findall(r"`crank2-unet ([a-z][^`]*)`", block.sub("", text)):
        yield line, False


def parsers(parser):
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from parsers(one)


def parse(line, complete):
    """Parse a command line as the program does; where it is not complete, nothing is required."""
    words, parser = shlex.split(line, comments=True), make_parser()
    options, rest = loosened(parser, complete).parse_known_args(words)
    if module := getattr(options, "module", None):
        own = importlib.import_module(f"crank2_unet.training.{module}").make_parser()
        loosened(own, complete).parse_args(rest)
    elif rest:
        parser.error(f"unrecognized arguments: {rest}")


def loosened(parser, complete):
    for one in () if complete else parsers(parser):
        for those in (one._actions, one._mutually_exclusive_groups):
            for action in those:
                action.required = False
    return parser


def test_commands_can_be_parsed(capsys):
    """Every command, option and choice that a page or a script shows is one of the program."""
    scripts = ROOT.glob("examples/crank2/*.*")
    shown = {(path.name, *command) for path in (*PAGES, *scripts) if path.name != "CHANGELOG.md"
             for command in commands(path)}
    wrong = []
    for name, line, complete in sorted(shown):
        try:
            parse(line.replace(" …", ""), complete)
        except SystemExit as end:
            if end.code:
                wrong.append(f"{name}: {line}: {capsys.readouterr().err.splitlines()[-1]}")
    assert wrong == [] and len(shown) > 70
    for line in ("phase IN.mtz --sites S.pdb -o DIR", "model train a b --minutes", "model magic"):
        with pytest.raises(SystemExit):
            parse(line, line.startswith("phase"))


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
