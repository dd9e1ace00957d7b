import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.crystal.observations import PhasedData
from crank2_unet.modification.protein_statistics import log_mean_intensity
from crank2_unet.modification.sharpening import Sharpening, sharpened_b


def fading(symbol, u, d_min=2.2):
    """Random structure factors of a sharpened protein that fall off by ``u``."""
    reflections = crystal(symbol, d_min)
    s2 = reflections.inverse_d_squared
    usual = np.exp(log_mean_intensity(s2) / 2 - sharpened_b(d_min) * s2 / 4)
    truth = random_coefficients(reflections) * np.sqrt(reflections.epsilon)
    f = np.abs(truth) * usual * Sharpening(reflections, u).fall_off
    f[::13] = np.nan
    return PhasedData(reflections, f, 0.05 * f, np.ones((len(f), 4)), np.nan_to_num(f) + 0j)


@pytest.mark.parametrize("symbol, u", [
    ("P 21 21 21", np.diag([0.0, 0.10, 0.04])),
    ("P 43 21 2", np.diag([0.2, 0.2, 0.08])),
    ("P 1", np.array([[0.06, 0.02, 0.01], [0.02, 0.03, 0.0], [0.01, 0.0, 0.02]])),
    ("F 4 3 2", np.diag([0.3, 0.3, 0.3])),
    ("P 21 21 21", np.diag([-0.05, -0.02, -0.05])),
])
def test_the_fall_off_is_found(symbol, u):
    assert np.allclose(Sharpening.of(fading(symbol, u)).u, u, atol=0.02)


def test_it_obeys_the_symmetry():
    found = Sharpening.of(fading("P 61 2 2", np.diag([0.0, 0.05, 0.1]))).u
    assert np.allclose(found[:2, :2], found[0, 0] * np.eye(2), atol=1e-9)
    assert np.allclose(found[2, :2], 0, atol=1e-9)


def test_scaling_undoes_it_and_leaves_the_phases():
    u = np.diag([0.0, 0.10, 0.04])
    data = fading("P 21 21 21", u)
    sharpening = Sharpening(data.reflections, u)
    even = sharpening.apply(data)
    assert np.allclose(even.f * sharpening.fall_off, data.f, equal_nan=True)
    assert np.allclose(sharpening.undo(even.coefficients), data.coefficients)
    assert np.array_equal(sharpening.sharpen(data.coefficients).coefficients, even.coefficients)
    assert np.allclose(even.f / even.sigf, data.f / data.sigf, equal_nan=True)
    assert np.array_equal(even.hl, data.hl)


def test_what_is_sharp_stays_as_it_is():
    data = fading("P 21 21 21", np.diag([0.3, 0.4, 0.2]))
    assert np.abs(Sharpening.of(Sharpening.of(data).apply(data)).u).max() < 1e-3


@pytest.mark.parametrize("d_min, measured", [(4.6, 1.0), (2.5, 0.0), (2.5, 0.02)])
def test_data_that_cannot_tell_are_left_alone(d_min, measured):
    data = fading("P 21 21 21", np.diag([0.3, 0.4, 0.2]), d_min)
    data.f[np.random.default_rng(1).random(len(data.f)) >= measured] = np.nan
    assert np.array_equal(Sharpening.of(data).u, np.zeros((3, 3)))


def test_only_maps_that_can_show_atoms_are_very_sharp():
    assert sharpened_b(1.5) == sharpened_b(2.2) < sharpened_b(2.8) < sharpened_b(3.5)
