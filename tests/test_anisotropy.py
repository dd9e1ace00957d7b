import numpy as np
import pytest

from crank2_unet.anisotropy import anisotropy, fall_off, scaled
from crank2_unet.data import PhasedData
from crystals import crystal, random_coefficients


def fading(symbol, u, d_min=2.2):
    reflections = crystal(symbol, d_min)
    truth = random_coefficients(reflections)
    f = np.abs(truth) * fall_off(reflections, u)
    f[::13] = np.nan
    return PhasedData(reflections, f, 0.05 * f, np.ones((len(f), 4)), np.nan_to_num(f) + 0j)


@pytest.mark.parametrize("symbol, u", [
    ("P 21 21 21", np.diag([0.0, 0.10, 0.04])),
    ("P 43 21 2", np.diag([0.0, 0.0, 0.08])),
    ("P 1", np.array([[0.06, 0.02, 0.01], [0.02, 0.03, 0.0], [0.01, 0.0, 0.02]])),
])
def test_the_fall_off_is_found_up_to_an_isotropic_part(symbol, u):
    found = anisotropy(fading(symbol, u))
    expected = u - np.linalg.eigvalsh(u)[0] * np.eye(3)
    assert np.allclose(found, expected, atol=0.012)
    assert np.linalg.eigvalsh(found)[0] == pytest.approx(0, abs=1e-12)


def test_it_obeys_the_symmetry():
    found = anisotropy(fading("P 61 2 2", np.diag([0.0, 0.05, 0.1])))
    assert np.allclose(found[:2, :2], found[0, 0] * np.eye(2), atol=1e-9)
    assert np.allclose(found[2, :2], 0, atol=1e-9)
    assert np.allclose(anisotropy(fading("F 4 3 2", np.zeros((3, 3)))), 0)


def test_scaling_undoes_it_and_leaves_the_phases():
    u = np.diag([0.0, 0.10, 0.04])
    data = fading("P 21 21 21", u)
    even = scaled(data, u)
    assert np.allclose(even.f * fall_off(data.reflections, u), data.f, equal_nan=True)
    assert np.allclose(even.f / even.sigf, data.f / data.sigf, equal_nan=True)
    assert np.array_equal(even.hl, data.hl)
    assert np.abs(anisotropy(even)).max() < 0.012
