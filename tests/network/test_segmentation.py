"""Windows are cut, blended and spread by symmetry without losing or shifting anything."""

from types import SimpleNamespace

import gemmi
import numpy as np
import pytest
from crystals import SETTINGS, crystal, random_coefficients

from crank2_unet.crystal.filters import soften
from crank2_unet.crystal.grids import asymmetric_unit, density_map, empty_grid, like, resample
from crank2_unet.crystal.maps import CrystalMap
from crank2_unet.network.inputs import InputSpec, input_maps, normalise, sample_window
from crank2_unet.network.segmentation import certainty, map_logits, probability, probability_with_mean
from crank2_unet.network.windows import Stitcher, blend_weights, boxes
from crank2_unet.pipeline import region_weights


class EchoNet:
    """Stands in for the network: gives its first channel back, and minus that."""

    def __init__(self, spacing: float, window: int = 32, margin: int = 4):
        self.card = SimpleNamespace(input=InputSpec(spacing, 100.0, 0.0), window=window,
                                    margin=margin)
        self.batch = 3

    def logits(self, windows):
        assert all(n % 8 == 0 for n in windows.shape[2:])
        return np.stack([windows[:, 0], -windows[:, 0]], axis=1)


@pytest.mark.parametrize("symbol", SETTINGS)
def test_echo_gives_the_map_back_in_every_setting(symbol):
    reflections = crystal(symbol, 5.0)
    coefficients = random_coefficients(reflections)
    grid = density_map(reflections, coefficients, 1.2)
    expected = normalise(density_map(reflections, coefficients, 5.0 / 3), 100.0)
    got, negative = map_logits(CrystalMap(reflections, coefficients), EchoNet(0.8), grid)
    assert np.allclose(negative.array, -got.array, atol=1e-4)
    # three linear interpolations dampen the map a little; any shift would lower the correlation
    assert np.corrcoef(got.array.ravel(), resample(expected, grid).array.ravel())[0, 1] > 0.985
    symmetric = got.clone()
    symmetric.symmetrize_avg()
    assert np.abs(symmetric.array - got.array).max() < 1e-4


@pytest.mark.parametrize("size", [(10.0, 17.0, 50.0), (90.0, 31.0, 64.0)])
def test_inner_parts_of_windows_cover_a_box(size):
    size = np.array(size)
    box = next(box for box in boxes(np.prod(size), size, 8, 48) if np.all(box.inner >= size))
    points = np.random.default_rng(1).uniform(-0.5, 0.5, (4000, 3)) * size
    plan = box.plan(points)
    margins = np.array(plan.margins)
    inner = [(points >= s + margins - 1.5) & (points <= s + np.array(plan.shape) - margins + 0.5)
             for s in plan.starts]
    assert np.any([np.all(i, axis=1) for i in inner], axis=0).all()
    assert max(plan.shape) <= 48
    assert not np.any(np.array(plan.shape) % 8) and not np.any(plan.starts % 2)
    assert np.all(plan.starts >= plan.low)
    assert np.all(plan.starts - plan.low + plan.shape <= plan.extent)
    # less margin is enough where a window spans the axis
    assert plan.margins == tuple(2 if one + 4 <= 48 else 8 for one in size)


def test_boxes_come_by_the_work_that_they_make_and_the_last_is_enough():
    found = list(boxes(9e4, np.array([120.0, 60.0, 30.0]), 12, 96))
    work = [np.prod(box.shape) * np.prod(box.counts) for box in found]
    assert work == sorted(work)
    assert all(np.prod(box.inner) >= 9e4 for box in found)
    assert any(np.all(box.inner >= (120, 60, 30)) for box in found)


def test_empty_places_get_no_window():
    ends = np.array([[-100.0, -100.0, -100.0], [100.0, 100.0, 100.0]])
    box = next(box for box in boxes(200.0**3, np.full(3, 200.0), 4, 48) if np.all(box.inner >= 200))
    assert len(box.plan(ends).starts) == 2


def test_blending_keeps_a_constant():
    points = np.random.default_rng(2).uniform(-40, 40, (2000, 3))
    box = next(box for box in boxes(80.0**3, np.full(3, 80.0), 4, 32) if np.all(box.inner >= 80))
    plan = box.plan(points)
    stitcher = Stitcher(plan)
    for start in plan.starts:
        stitcher.add(start, np.full(plan.shape, 3.0, np.float32))
    assert np.allclose(stitcher.mean()[stitcher.mean() != 0], 3.0, atol=1e-5)
    assert blend_weights((24, 24, 24), (4, 4, 4)).max() == 1.0


def test_rotated_window_reads_the_right_points():
    reflections = crystal("P 1", 6.0)
    grid = density_map(reflections, random_coefficients(reflections), 0.8)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    window = sample_window(grid, np.array([3.0, 4.0, 5.0]), (8, 9, 10), 1.5, turn)
    position = np.array([3.0, 4.0, 5.0]) + 1.5 * turn @ [2, 5, 7]
    assert window[2, 5, 7] == pytest.approx(grid.interpolate_value(gemmi.Position(*position)))


def test_normalisation_ignores_heavy_atoms():
    grid = empty_grid(gemmi.UnitCell(50, 50, 50, 90, 90, 90), gemmi.SpaceGroup("P 1"), 1.0)
    noise = np.random.default_rng(3).standard_normal(grid.shape)
    noise[10:12, 10:12, 10:12] = 300.0
    got = normalise(like(grid, noise * 7), 4.0).array
    assert got.std() == pytest.approx(1.0, abs=0.02) and got.max() == 4.0


def test_input_is_independent_of_the_scale_of_the_map():
    reflections = crystal("C 1 2 1", 2.0)
    coefficients = random_coefficients(reflections)
    one, many = (input_maps(CrystalMap(reflections, k * coefficients), InputSpec())
                 for k in (1.0, 500.0))
    assert len(one) == 2
    for a, b in zip(one, many):
        assert np.allclose(a.array, b.array, atol=2e-4)


def test_shifted_probability_has_the_mean_asked_for():
    reflections = crystal("P 43 21 2", 5.0)
    logits = density_map(reflections, random_coefficients(reflections), 1.6)
    unit = asymmetric_unit(logits)
    assert probability_with_mean(logits, 0.37).array[unit].mean() == pytest.approx(0.37, abs=1e-4)
    expected = 1 / (1 + np.exp(-logits.array))
    assert np.allclose(probability(logits).array, expected, atol=1e-6)


def test_certainty_is_zero_for_one_probability_everywhere_and_one_for_a_mask():
    grid = empty_grid(gemmi.UnitCell(30, 40, 50, 90, 90, 90), gemmi.SpaceGroup("P 21 21 21"), 2.0)
    mask = like(grid, np.zeros(grid.shape))
    mask.array[:, :, :mask.nw // 4] = 1
    mask.symmetrize_max()
    assert certainty(mask) == pytest.approx(1.0)
    assert certainty(like(grid, 0.7 + 0 * mask.array)) == pytest.approx(0.0, abs=1e-6)
    assert certainty(like(grid, 0.25 + 0.5 * mask.array)) < 0.5


def test_region_weights_of_certain_masks_are_softened_less():
    reflections = crystal("P 43 21 2", 5.0)
    density = density_map(reflections, random_coefficients(reflections), 1.6)
    for scale, blur in ((20.0, 1.0), (1.0, 1.5)):
        logits = like(density, scale * density.array / density.array.std())
        assert np.array_equal(region_weights(logits, 0.4).array,
                              soften(probability_with_mean(logits, 0.4), blur).array)
