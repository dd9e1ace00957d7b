import numpy as np
import pytest
from crystals import crystal

from crank2_unet.crystal.shells import Shells
from crank2_unet.errors import InputError


@pytest.fixture(scope="module")
def reflections():
    return crystal("P 21 21 21", 2.0)


def test_rms_follows_a_steep_fall_off(reflections):
    rng = np.random.default_rng(0)
    expected = 100 * np.exp(-20 * reflections.inverse_d_squared)
    values = expected * np.sqrt(rng.exponential(1.0, len(reflections)))
    rms = Shells(reflections, np.ones(len(reflections), bool)).rms(values)
    assert np.abs(np.log(rms / expected)).mean() < 0.05


def test_mean_ignores_what_is_not_measured_or_not_chosen(reflections):
    measured = reflections.d < 8
    values = np.where(measured, np.where(reflections.centric, 3.0, 1.0), 1e6)
    shells = Shells(reflections, measured)
    assert shells.mean(values, reflections.centric) == pytest.approx(3.0)
    assert shells.mean(values, ~reflections.centric) == pytest.approx(1.0)
    assert np.all(shells.mean(values, np.zeros(len(values), bool)) == 0)


def test_values_are_interpolated_between_shells_and_constant_outside(reflections):
    measured = (reflections.d < 8) & (reflections.d > 2.2)
    shells = Shells(reflections, measured)
    curve = shells.interpolate(np.arange(shells.count))
    assert shells.count > 3
    assert np.all(np.diff(curve[np.argsort(reflections.inverse_d_squared)]) >= 0)
    assert np.all(curve[reflections.d > 8] == 0)
    assert np.all(curve[reflections.d < 2.2] == shells.count - 1)


def test_no_measured_reflections_is_an_error(reflections):
    with pytest.raises(InputError, match="no observed amplitudes"):
        Shells(reflections, np.zeros(len(reflections), bool))
