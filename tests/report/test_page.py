"""The report: escaping, self-containment, its answers, tolerance of absent parts."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_results import MINIMAL, NASTY, full_result, layers

from crank2_unet.errors import InputError
from crank2_unet.report.answers import tiles_of, verdict_of
from crank2_unet.report.page import write_report
from crank2_unet.report.terms import TERMS

VOID = {"meta", "img", "br", "input", "path", "circle", "rect"}


class Page(HTMLParser):
    """The tags, attributes, sources and text of a page; ``open`` must be empty at its end."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.sources, self.text, self.ids, self.links, self.open = [], [], [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        attributes = dict(attributes)
        self.sources += [attributes[name] for name in ("src", "srcset", "data") if name in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(full_result(), path, layers())
    return Page(path)


@pytest.fixture
def written(tmp_path):
    def write(result):
        write_report(result, tmp_path / "report.html")
        return Page(tmp_path / "report.html")
    return write


def test_page_needs_nothing_else_and_escapes_everything(page):
    assert not {"link", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == 2  # the maps and what shows them
    assert page.tags.count("canvas") == 2 and len(page.sources) == 9  # 3 sections of 3 maps
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "".join(page.text).count(NASTY) > 10  # all of it is there to read
    assert page.open == []  # every element is closed


def test_script_is_the_one_that_the_policy_allows(tmp_path):
    import base64
    import hashlib

    write_report(MINIMAL, tmp_path / "report.html")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    allowed = re.search(r"script-src 'sha256-([^']+)'", source).group(1)
    script = re.search(r"<script>(.*)</script>", source, re.DOTALL).group(1)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == allowed
    assert "url(" not in source and "http" not in script


def test_first_line_is_the_verdict(page):
    headings = page.words.index("From Friedel mates to a map"), page.words.index("Sections of the map")
    verdict = page.words.index("Promising: expected correlation with the true map 0.71 ± 0.07.")
    assert headings[0] < verdict < headings[1]
    assert "What to do next Build a model." in page.words


def test_numbers_at_the_top_are_those_of_the_result(page):
    top = page.words[:page.words.index("Stages")]
    for answer in ("0.71 ± 0.07", "0.800 0.600 after the first cycle", "0.750", "43.7%",
                   "3 in the asymmetric unit; probability 0.90"):
        assert answer in top
    assert "0.111" not in top  # the start map's
    assert "0.111" in page.words


def test_every_term_is_explained_once(page):
    terms = [link[1:] for link in page.links if link.startswith("#")]
    assert len(terms) > 15 and set(terms) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.words.count(TERMS["free"][1]) == 1


def test_terms_are_those_of_the_documentation():
    text = " ".join((Path(__file__).parents[2] / "docs/report.md").read_text(encoding="utf-8").split())
    for name, explanation in TERMS.values():
        assert f"**{name}**: {explanation}" in text


def test_what_does_not_change_is_a_sentence(page):
    assert "Trust, given phases: 1.00 in all cycles." in page.words
    assert page.words.count("Sigma-A") == 1
    before = page.words[page.words.index("by cycle"):]
    assert "Solvent fraction" not in before


def test_ncs_and_trust_in_phases_are_told(page, written):
    assert "They claim a figure of merit of 0.41; the map supports 0.36." in page.words
    assert "share of the asymmetric unit NCS correlation 10,20,30,1,2,3,4,5,6 0.250 0.610" in page.words
    none = written({**full_result(), "ncs": [], "ncs_sites": None}).words
    assert "Looked for in the map: none that the map and held-back amplitudes confirm" in none
    result = full_result()
    del result["ncs"], result["phases"]
    assert "Non-crystallographic" not in written(result).words.split("Terms")[0]


@pytest.mark.parametrize("used, said", [
    (True, "They were filled in to 1.92 Å; held-back amplitudes agree better with them (correlation "
           "0.668, without 0.634): used."),
    (False, "agree no better with them (correlation 0.668, without 0.634): not used.")])
def test_what_reflections_beyond_the_data_were_worth_is_told(written, used, said):
    tried = {"d_min": 1.92, "used": used, "free_correlation": 0.668, "free_correlation_before": 0.634}
    assert said in written({**full_result(), "beyond_data": tried}).words
    assert "beyond the data" not in written({**full_result(), "beyond_data": None}).words


@pytest.mark.parametrize("names, key", [
    (["Density", "P(solvent)"], "(strong); P(solvent) from 0 (faint)"),
    (["Before", "After", "P(flat)"], "(strong); P(flat) from 0 (faint)"),
    (["P(solvent)", "P(flat)"], "(strong); P(solvent) and P(flat) from 0 (faint)"),
    (["Before"], "(strong).")])
def test_the_key_names_what_is_shown(names, key, tmp_path):
    shown = [replace(layers()[0], name=name) for name in names]
    write_report({**MINIMAL, "input": {"file": "in.mtz"}}, tmp_path / "report.html", shown, [("", [])])
    words = Page(tmp_path / "report.html").words
    assert key in words[words.index("Density from 1"):]


def test_heads_of_tables_are_words(page):
    for head in ("FOM, acentric", "phase change (°), acentric", "skewness, as phased", "sigma-A"):
        assert head in page.words
    assert "_" not in page.words.split("What was run")[0]


def test_hands_that_were_both_modified_are_compared(written):
    both = [{"hand": hand, "word": word, "correlation": correlation, "uncertainty": 0.1,
             "probability": probability} for hand, word, correlation, probability in (
                 ("given", "solved", 0.8, 0.99), ("other", "not solved", 0.1, 0.01))]
    words = written({**full_result(), "hand": {"chosen": "given", "modified": both}}).words
    assert "probability of more than 0.5 given solved 0.800 0.100 0.990 other not solved" in words


def test_stages_lead_to_their_reports(page):
    assert "phase/report.html" in page.links
    assert "Phases from sites 3.00 s, gave the map" in page.words


def test_sites_have_coordinates_and_heights(page):
    assert "0.1000 0.2000 0.3000 1.00 20.0 9.50 yes" in page.words
    assert "Added" in page.words and "Dropped" not in page.words


@pytest.mark.parametrize("absent", [None, "left out"])
@pytest.mark.parametrize("part", ["model", "device", "solvent_content", "mask", "cycles", "phasing",
                                  "timings", "outputs", "warnings", "arguments", "input", "verdict",
                                  "stages", "shells", "map_quality", "scatterer"])
def test_parts_may_be_absent(written, part, absent):
    result = full_result()
    if absent is None:
        result[part] = None
    else:
        del result[part]
    page = written(result)
    assert "Please cite" in page.words and page.open == []


def test_other_schema_is_refused(tmp_path):
    with pytest.raises(InputError, match="schema 7"):
        write_report({**MINIMAL, "schema": 7}, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("result, line, level", [
    ({"cycles": [{"fom": 0.6}, {"fom": 0.7}]}, "Figure of merit 0.700 after 2 cycles.", "plain"),
    ({"hands": [{"file": "a", "probability": 0.95}, {"file": "b", "probability": 0.05}]},
     "The right hand is a, with a probability of 0.950.", "good"),
    ({"hands": [{"file": "a", "probability": 0.9997}, {"file": "b", "probability": 0.0003}]},
     "The right hand is a, with a probability of >0.999.", "good"),
    ({"hands": [{"file": "a", "probability": 0.4}, {"file": "b", "probability": 0.6}]},
     "More probably right is b, with a probability of 0.600.", "fair"),
    ({"hands": [{"file": "a", "probability": 0.5}], "same_map": True},
     "Both hands give the same map: use either.", "plain"),
    ({"phasing": {"n_sites": 4, "fom": 0.31, "phasing_power": 0.8}},
     "4 sites give phases with a figure of merit of 0.310 and a phasing power of 0.80.", "plain"),
    ({"solvent_content": {"value": 0.5, "rule": "user"}},
     "50.0% of the crystal is solvent, as given.", "plain"),
])
def test_each_command_answers(result, line, level):
    verdict = verdict_of(result)
    assert (verdict.line, verdict.level) == (line, level)


@pytest.mark.parametrize("command, entries", [
    ("phase", {"phasing": full_result()["phasing"]}),
    ("phase", {"phasing": {**full_result()["phasing"], "hands": [{"hand": "given"}]}}),
    ("hand", {"hands": [{"file": "a", "probability": 0.95}, {"file": "b", "probability": 0.05}]})])
def test_a_stage_advises_nothing_that_its_job_does(written, command, entries):
    result = {**MINIMAL, "command": command, "input": {"file": "in.mtz"}, **entries}
    assert "What to do next" in written(result).words
    page = written({**result, "part_of": "solve"})
    assert "A stage of crank2-unet solve" in page.words and "../report.html" in page.links
    assert "What to do next" not in page.words and "Only the given hand" not in page.words


def test_start_quality_is_no_number_of_a_modified_map():
    result = {"command": "dm", "cycles": [{"fom": 0.5}], "input": {"labels": {}},
              "map_quality": {"correlation": 0.46, "uncertainty": 0.08}}
    assert [tile.name for tile in tiles_of(result)] == ["Figure of merit"]
    del result["cycles"]
    assert tiles_of(result)[0].value == "0.46 ± 0.08"


def test_importing_the_report_is_quick():
    code = ("import sys, crank2_unet.report.page, crank2_unet.check;"
            "sys.exit(bool({'matplotlib', 'jinja2', 'onnxruntime'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_writing_a_report_needs_no_matplotlib():
    code = ("import sys, os; from report_results import full_result, layers;"
            "from crank2_unet.report.page import write_report;"
            "write_report(full_result(), os.devnull, layers());"
            "sys.exit('matplotlib' in sys.modules)")
    helpers = Path(__file__).parents[1] / "helpers"
    assert subprocess.run([sys.executable, "-c", code], cwd=helpers).returncode == 0
