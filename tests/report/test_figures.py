"""Sections of maps: their geometry, and what is drawn of them."""

import zlib

import gemmi
import numpy as np
import pytest
from report_results import blob, layers

from crank2_unet.crystal.grids import empty_grid, like
from crank2_unet.report import figures
from crank2_unet.report.figures import Layer, Section


def decoded(picture):
    """Colours (rows, columns, 3) of a picture by figures.py and which of its pixels are opaque."""
    content, chunks, place = picture.content, {}, 8
    while place < len(content):
        length = int.from_bytes(content[place:place + 4], "big")
        kind, data = content[place + 4:place + 8], content[place + 8:place + 8 + length]
        assert zlib.crc32(kind + data) == int.from_bytes(content[place + 8 + length:][:4], "big")
        chunks[kind], place = data, place + length + 12
    columns, rows = (int.from_bytes(chunks[b"IHDR"][i:i + 4], "big") for i in (0, 4))
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, columns + 1)
    palette = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)
    assert not lines[:, 0].any()
    return palette[lines[:, 1:]], lines[:, 1:] > 0


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
        assert section.fraction == pytest.approx((0.2, 0.4, 0.7)[section.normal], abs=0.02)
        values = section.points(grid.array)
        point = [0, 0, 0]
        point[section.normal] = round(section.fraction * grid.shape[section.normal])
        point[section.horizontal], point[section.vertical] = 5, 9
        assert values[9, 5] == grid.get_value(*point)
        assert np.array_equal(values[:, -1], values[:, 0])


def test_sections_are_where_the_last_mask_tells_most():
    shown = layers()
    assert figures.sections_of(shown) == figures.telling_sections(shown[-1].mask)
    without = [Layer("one", shown[0].grid), Layer("two", shown[1].grid)]
    assert figures.sections_of(without) == figures.telling_sections(shown[1].grid)


@pytest.mark.parametrize("parameters", [(60, 40, 60, 90, 120, 90), (60, 40, 80, 90, 70, 90)])
def test_round_blob_is_drawn_round_and_the_cell_in_its_shape(parameters):
    cell = gemmi.UnitCell(*parameters)
    grid = blob(cell, width=5.0)
    section = next(s for s in figures.telling_sections(grid) if s.normal == 1)
    colours, opaque = decoded(figures.section_picture(section, Layer("", grid, None, "probability")))
    rows, columns = np.nonzero(opaque & (colours[..., 0] < 120))
    height, width = np.ptp(rows), np.ptp(columns)
    assert height > 30 and height == pytest.approx(width, rel=0.06)
    extent = np.ptp(section.to_angstrom(cell) @ np.array([[0, 1, 1, 0], [0, 0, 1, 1]]), axis=1)
    area = section.to_angstrom(cell)
    assert opaque.mean() == pytest.approx(area[0, 0] * area[1, 1] / extent.prod(), abs=0.01)


def test_first_axis_is_to_the_right_and_second_one_up():
    cell = gemmi.UnitCell(60, 40, 60, 90, 90, 90)
    grid = blob(cell, centre=(0.75, 0.25, 0.5), width=4.0)
    colours, _ = decoded(figures.section_picture(
        Section(2, 0, 1, 0.5), Layer("", grid, None, "probability")))
    darkest = np.unravel_index(colours[..., 0].argmin(), colours.shape[:2])
    assert np.array(darkest) / colours.shape[:2] == pytest.approx([0.75, 0.75], abs=0.05)


def test_outline_is_where_the_mask_ends():
    cell = gemmi.UnitCell(60, 60, 60, 90, 90, 90)
    grid = empty_grid(cell, gemmi.SpaceGroup("P 1"), 1.0)
    x = np.arange(grid.shape[0]) / grid.shape[0]
    mask = like(grid, np.broadcast_to((x < 0.4)[:, None, None], grid.shape))
    colours, _ = decoded(figures.section_picture(Section(2, 0, 1, 0.0), Layer("", grid, mask)))
    orange = (colours[..., 0] > 150) & (colours[..., 2] < 100)
    places = np.nonzero(orange.all(axis=0))[0] / colours.shape[1]
    assert len(places) > 1 and np.abs(places - 0.4).min() < 0.02
    assert all(abs(place - 0.4) < 0.03 or place > 0.95 for place in places)


@pytest.mark.parametrize("height, radius", [(0.5, 2.0), (0.52, 1.6), (0.54, None), (-0.52, 1.6)])
def test_sites_are_circled_where_they_are(height, radius):
    """The site is off the section by 0, 1.2 and 2.4 A; a mate in P -1 is where its inverse is."""
    grid = empty_grid(gemmi.UnitCell(40, 40, 60, 90, 90, 90), gemmi.SpaceGroup("P -1"), 2.0)
    layer = Layer("", grid, sites=[(0.3, 0.2, height)])
    colours, _ = decoded(figures.section_picture(Section(2, 0, 1, 0.5), layer))
    rows, columns = np.nonzero((colours == (10, 143, 106)).all(axis=2))
    left = columns < colours.shape[1] / 2
    scale = 40 / colours.shape[1]
    assert (radius is None) == (len(rows) == 0)
    for chosen, place in ((left, (0.3, 0.8)), (~left, (0.7, 0.2))) if radius else ():
        x, y = columns[chosen] * scale, rows[chosen] * scale
        assert (x.mean() / 40, y.mean() / 40) == pytest.approx(place, abs=0.01)
        assert np.ptp(x) / 2 == pytest.approx(radius, abs=0.25) == pytest.approx(np.ptp(y) / 2, abs=0.1)


def test_maps_may_be_on_different_grids():
    cell = gemmi.UnitCell(40, 40, 60, 90, 90, 120)
    coarse = empty_grid(cell, gemmi.SpaceGroup("P 1"), 3.0)
    picture = figures.section_picture(Section(2, 0, 1, 0.5), Layer("Density", blob(cell), coarse))
    assert picture.alt == "Density. Plane of a and b at z = 0.500" and decoded(picture)
