"""Maps for the section browser: symmetry undone as its script does, sizes, what a byte means."""

import base64

import gemmi
import numpy as np
import pytest
from report_results import layers

from crank2_unet.crystal.grids import empty_grid, like
from crank2_unet.report import volume
from crank2_unet.report.figures import Layer

GROUPS = [("P 1", (30, 40, 50, 80, 95, 110)), ("P 21 21 21", (30, 40, 50, 90, 90, 90)),
          ("P 41 21 2", (40, 40, 50, 90, 90, 90)), ("P 61", (40, 40, 50, 90, 90, 120)),
          ("R 3 :H", (40, 40, 50, 90, 90, 120)), ("I 2 3", (40, 40, 40, 90, 90, 90))]


def unpacked(data, number):
    """What page.js makes of a map, slowly."""
    packed, shape = data["maps"][number], data["shape"]
    values = np.frombuffer(base64.b64decode(packed["values"]), np.uint8)
    orbit, count = np.full(shape, -1), 0
    for point in np.ndindex(*shape):
        if orbit[point] < 0:
            for rows in packed["operations"]:
                mate = (np.dot(row[:3], point) + row[3] for row in rows)
                orbit[tuple(i % n for i, n in zip(mate, shape))] = count
            count += 1
    assert count == len(values)
    return values[orbit]


@pytest.mark.parametrize("symbol, cell", GROUPS)
def test_symmetry_gives_back_all_points(symbol, cell):
    grid = empty_grid(gemmi.UnitCell(*cell), gemmi.SpaceGroup(symbol), 4.0)
    grid.array[:] = np.random.default_rng(3).random(grid.shape)
    grid.symmetrize_max()
    data = volume.browser_data([Layer("P", grid, None, "probability")])
    assert np.abs(unpacked(data, 0) / 255 - grid.array).max() < 0.5 / 255 + 1e-6


def test_each_map_is_stored_once_and_layers_point_to_it():
    shown = layers()
    data = volume.browser_data(shown)
    assert len(data["maps"]) == 5  # three maps, two masks
    assert data["layers"][1]["mask"] == data["layers"][2]["mask"] != data["layers"][0]["mask"]
    low, high = data["layers"][0]["range"]
    values = low + unpacked(data, data["layers"][0]["map"]) / 255 * (high - low)
    given = np.clip(shown[0].in_units(shown[0].grid.array), low, high)
    assert np.abs(values - given).max() <= (high - low) / 509
    mask = unpacked(data, data["layers"][0]["mask"])
    assert np.array_equal(mask == 255, shown[0].mask.array > 0.5) and set(np.unique(mask)) == {0, 255}


def test_sites_come_with_their_mates():
    data = volume.browser_data(layers())
    assert [layer["sites"] for layer in data["layers"]] == [[], [[0.5, 0.5, 0.5], [0.5, 0.0, 0.5]], []]


def test_large_maps_become_coarser(monkeypatch):
    monkeypatch.setattr(volume, "_MOST_BYTES", 5_000)
    shown = layers()
    data = volume.browser_data(shown)
    stored = sum(len(one["values"]) * 3 / 4 for one in data["maps"])
    assert 2_000 < stored < 6_000
    smaller = unpacked(data, 0)
    assert smaller.shape != shown[0].grid.shape
    assert np.argmax(smaller) / smaller.size == pytest.approx(
        np.argmax(shown[0].grid.array) / shown[0].grid.point_count, abs=0.08)


def test_hands_may_differ_in_their_groups():
    cell = gemmi.UnitCell(40, 40, 50, 90, 90, 90)
    maps = []
    for symbol in ("P 41", "P 43"):
        grid = empty_grid(cell, gemmi.SpaceGroup(symbol), 4.0)
        grid.array[:] = np.random.default_rng(3).random(grid.shape)
        grid.symmetrize_max()
        maps.append(Layer(symbol, like(grid, grid.array), None, "probability"))
    data = volume.browser_data(maps)
    assert data["maps"][0]["operations"] != data["maps"][1]["operations"]
    for number, layer in enumerate(maps):
        assert np.abs(unpacked(data, number) / 255 - layer.grid.array).max() < 0.5 / 255 + 1e-6


def test_planes_say_how_thick_the_cell_is():
    data = volume.browser_data(layers())
    cell = gemmi.UnitCell(40, 50, 60, 90, 110, 90)
    for plane in data["planes"]:
        area = np.linalg.det(plane["matrix"])
        assert plane["thickness"] * area == pytest.approx(cell.volume, rel=1e-6)
