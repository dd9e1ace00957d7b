"""The report: geometry of its sections, escaping, self-containment, tolerance of absent parts."""

import io
import subprocess
import sys
from html.parser import HTMLParser

import gemmi
import numpy as np
import pytest

from crank2_unet.crystal.grids import empty_grid, like
from crank2_unet.errors import InputError
from crank2_unet.report import figures
from crank2_unet.report.page import ReportMaps, draw_sections, write_report

NASTY = "<script>alert('x')</script>&\"$"
MINIMAL = {"schema": 1, "command": "segment", "status": "ok", "warnings": [],
           "program": {"name": "crank2-unet", "version": "0"}}


class Page(HTMLParser):
    """The tags, sources and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.sources, self.text = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "srcset", "data")]

    def handle_data(self, data):
        self.text.append(data)


def blob(cell, symbol="P 1", centre=(0.5, 0.5, 0.5), width=6.0):
    """A round Gaussian, Angstrom wide, in the middle of the cell."""
    grid = empty_grid(cell, gemmi.SpaceGroup(symbol), 1.2)
    fractions = np.stack(np.meshgrid(*(np.arange(n) / n for n in grid.shape), indexing="ij"), -1)
    offset = (fractions - centre) @ np.array(cell.orth.mat.tolist()).T
    return like(grid, np.exp(-np.sum(offset**2, axis=-1) / (2 * width**2)))


def full_result():
    x = np.linspace(0, 1, 101)
    counts, edges = np.histogram(np.random.default_rng(1).random(500), 20, (0, 1))
    return {
        **MINIMAL, "command": "dm", "arguments": ["dm", NASTY], "mask_source": NASTY,
        "warnings": [NASTY],
        "input": {"file": NASTY, "labels": {"fo": NASTY}, "cell": [40, 50, 60, 90, 110, 90],
                  "spacegroup": NASTY, "d_min": 2.0, "d_max": 30.0, "n_reflections": 9,
                  "n_measured": 8},
        "model": {"name": NASTY, "version": NASTY, "sha256": "ab"},
        "device": {"asked": "auto", "used": "cpu", "provider": "CPUExecutionProvider",
                   "threads": 2, "note": NASTY},
        "solvent_content": {
            "value": 0.437, "rule": "joint", "unet_expected": 0.45,
            "matthews": [{"copies": 3, "solvent": 0.43, "probability": 0.9, "unet": 0.8,
                          "joint": 0.9}],
            "distributions": {"solvent": x.tolist(), "matthews": None,
                              "unet": np.exp(-((x - 0.4) ** 2) * 50).tolist(),
                              "joint": None}},
        "mask": {"fraction": 0.44, "probability_cutoff": 0.52,
                 "histogram": {"edges": edges, "counts": counts}},
        "cycles": [{"cycle": i, "fom": 0.5 + 0.1 * i, "gamma": None if i == 1 else 0.1}
                   for i in (1, 2)],
        "phasing": {"fom": 0.31, "bins": [{"d_min": d, "fom": 0.4, "n": 9} for d in (4, 3, 2)],
                    "sites": [{"name": NASTY, "occupancy": 1.0, "b": 20.0}],
                    "hands": [{"hand": "given", "statistics": {"fom": 0.31}},
                              {"hand": "other", "statistics": {"fom": 0.29}}]},
        "timings": {"total": 3.21}, "outputs": {NASTY: NASTY},
    }


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are set up but not rendered, which takes nine tenths of the time."""
    monkeypatch.setattr(figures, "_picture", lambda title, alt, figure, kind:
                        figures.Picture(title, alt, b"", kind))


def test_page_needs_nothing_else_and_escapes_everything(tmp_path):
    grid = blob(gemmi.UnitCell(40, 50, 60, 90, 110, 90), "P 1 21 1")
    mask = like(grid, grid.array < 0.3)
    write_report(full_result(), tmp_path / "report.html", draw_sections(
        ReportMaps(grid, grid, mask)))
    page = Page(tmp_path / "report.html")
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert len(page.sources) == 11  # 3 sections of 2 maps, 3 charts, 2 curves
    assert all(source.startswith("data:image/") for source in page.sources)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "url(" not in source and "<script" not in source
    assert "".join(page.text).count(NASTY) > 10  # all of it is there to read


@pytest.mark.usefixtures("undrawn")
def test_headline_shows_the_answers(tmp_path):
    write_report(full_result(), tmp_path / "report.html")
    text = " ".join(Page(tmp_path / "report.html").text)
    for answer in ("43.7%", "44.0%", "0.700", "0.310", "CPU", "3.2 s", "from the network and",
                   "Copies in the asymmetric unit 3 probability 0.90"):
        assert answer in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("absent", [None, "left out"])
@pytest.mark.parametrize("part", ["model", "device", "solvent_content", "mask", "cycles", "phasing",
                                  "timings", "outputs", "warnings", "arguments", "input"])
def test_parts_may_be_absent(tmp_path, part, absent):
    result = full_result()
    if absent is None:
        result[part] = None
    else:
        del result[part]
    write_report(result, tmp_path / "report.html")
    assert "Please cite" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_other_schema_is_refused(tmp_path):
    with pytest.raises(InputError, match="schema 7"):
        write_report({**MINIMAL, "schema": 7}, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_maps_may_be_on_different_grids_and_lack_the_probability(tmp_path):
    cell = gemmi.UnitCell(40, 40, 60, 90, 90, 120)
    density, mask = blob(cell), empty_grid(cell, gemmi.SpaceGroup("P 1"), 3.0)
    write_report(MINIMAL, tmp_path / "report.html", draw_sections(
        ReportMaps(density, None, mask)))
    assert len(Page(tmp_path / "report.html").sources) == 3


def test_large_sections_are_thinned_to_their_ends():
    values = np.add.outer(np.arange(1501.0), np.arange(31.0))
    thinned = figures._thinned(values)
    assert thinned.shape == (figures.LONGEST_SIDE, 31)
    assert (thinned[0, 0], thinned[-1, -1]) == (values[0, 0], values[-1, -1])


@pytest.mark.parametrize("parameters", [(40, 50, 60, 90, 110, 90), (60, 60, 45, 90, 90, 120),
                                        (40, 50, 60, 75, 82, 104)])
def test_section_plane_keeps_distances(parameters):
    cell = gemmi.UnitCell(*parameters)
    for section in figures.telling_sections(blob(cell)):
        matrix = section.to_angstrom(cell)
        step = np.zeros(3)
        step[section.horizontal], step[section.vertical] = 0.3, -0.45
        flat = matrix @ (0.3, -0.45)
        assert np.linalg.norm(flat) == pytest.approx(
            cell.orthogonalize(gemmi.Fractional(*step)).length(), rel=1e-9)


def test_section_values_are_those_of_its_points():
    grid = blob(gemmi.UnitCell(30, 50, 40, 90, 100, 90), centre=(0.2, 0.4, 0.7))
    for section in figures.telling_sections(grid):
        assert section.index / grid.shape[section.normal] == pytest.approx(
            (0.2, 0.4, 0.7)[section.normal], abs=0.02)
        values = section.points(grid)
        point = [0, 0, 0]
        point[section.normal], point[section.horizontal], point[section.vertical] = (
            section.index, 5, 9)
        assert values[9, 5] == grid.get_value(*point)
        assert np.array_equal(values[:, -1], values[:, 0])


def test_round_blob_is_drawn_round():
    """In a cell with beta = 120 degrees a sphere must have equal extents across and along."""
    from matplotlib.image import imread

    cell = gemmi.UnitCell(60, 40, 60, 90, 120, 90)
    grid = blob(cell, width=5.0)
    section = next(s for s in figures.telling_sections(grid) if s.normal == 1)
    # no outline: the mask is all solvent
    picture = figures.section_picture(section, grid, like(grid, np.ones(grid.shape)), "", "Greys",
                                      (0, 1))
    pixels = imread(io.BytesIO(picture.content))[:, :, 0]
    rows, columns = np.nonzero(pixels < 0.25)
    inside = (columns > 150) & (rows < pixels.shape[0] - 120)  # not the axes and their numbers
    height, width = np.ptp(rows[inside]), np.ptp(columns[inside])
    assert height > 30
    assert height == pytest.approx(width, rel=0.06)


def test_importing_the_report_is_quick():
    code = ("import sys, crank2_unet.report.page, crank2_unet.check;"
            "sys.exit(bool({'matplotlib', 'jinja2', 'onnxruntime'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_drawing_does_not_touch_the_state_of_matplotlib():
    code = ("import sys, matplotlib; from crank2_unet.report import figures;"
            "before = matplotlib.rcParams['font.size'];"
            "figures.histogram_picture([0, 0.5, 1], [3, 4], 0.4);"
            "sys.exit(matplotlib.rcParams['font.size'] != before"
            " or 'matplotlib.pyplot' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
