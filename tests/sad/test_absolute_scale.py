"""Absolute scale of the sites: from Wilson statistics, and what it does to wrong f''."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest

from crank2_unet.crystal.observations import AnomalousData
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.sad.friedel import Observed
from crank2_unet.sad.restraints import Restraints
from crank2_unet.sad.scatterer import Scatterer
from crank2_unet.sad.wilson import wilson_scale

SELENIUM = Scatterer("Se", -4.0, 5.0)


@pytest.mark.slow
@pytest.mark.parametrize("symbol, cell", [
    ("P 21 21 21", (60, 60, 60, 90, 90, 90)), ("C 1 2 1", (80, 45, 60, 90, 105, 90))])
def test_wilson_scale_is_that_of_the_atoms(symbol, cell):
    """Atoms in random places, at the density of protein crystals."""
    rng = np.random.default_rng(0)
    group, cell = gemmi.SpaceGroup(symbol), gemmi.UnitCell(*cell)
    r = Reflections(cell, group, 2.0)
    operations = group.operations()
    n_light = round(cell.volume / len(operations) / 270 * 7.9)
    xyz, total = rng.random((n_light, 3)), np.zeros(len(r), complex)
    carbon = gemmi.Element("N").it92
    for op in operations.sym_ops:
        moved = np.array([op.apply_to_xyz(x) for x in xyz.tolist()])
        total += np.exp(2j * np.pi * (r.hkl @ moved.T)).sum(axis=1)
    f0 = np.array([carbon.calculate_sf(x / 4) for x in r.inverse_d_squared])
    f = 3.0 * np.abs(total) * f0 * np.exp(-30.0 * r.inverse_d_squared / 4)
    nothing = np.full(len(r), np.nan)
    f_minus = np.where(r.centric, nothing, f * (1 + 1e-3 * rng.standard_normal(len(r))))
    data = AnomalousData(r, f, 0.01 * f, f_minus, 0.01 * f_minus, None)
    log_scale, b = wilson_scale(Observed.of(data), cell, group)
    assert log_scale == pytest.approx(np.log(3.0), abs=0.12)
    assert b == pytest.approx(30.0, abs=4.0)


def restraints(uncertainty=0.1, element="Se"):
    return Restraints(1.0, 20.0, replace(SELENIUM, uncertainty=uncertainty, element=element),
                      np.array([30.0, 40.0, 50.0]))


def parameters(occupancy):
    """Two sites that scatter f'' times ``occupancy`` on the scale of :func:`restraints`."""
    return {"occupancy": np.array([1.0, 1.0]), "log_scale": np.array([1.0 + np.log(occupancy)]),
            "log_ratio": np.zeros(1), "log_sigma": np.array([0.2]), "b": np.array([4.0]),
            "b_iso": np.array([15.0, 30.0]), "xyz": np.array([[0.2, 0.21, 0.2], [0.19, 0.2, 0.2]]),
            "reference": np.full((2, 3), 0.2)}


def test_wide_f_double_prime_explains_what_occupancies_cannot():
    """2.7 times what 90 % of selenium with the given f'' scatter: f'' where it is uncertain."""
    found = {u: restraints(u).with_ratio(parameters(2.43)) for u in (0.02, 0.1, 0.4)}
    assert found[0.02]["log_ratio"][0] < 0.01
    assert 0.6 < found[0.4]["log_ratio"][0] < 0.75
    assert restraints().occupancy(found[0.4]) == pytest.approx(1.25, abs=0.1)
    # a soaked ion may have any occupancy, so that f'' stays
    assert restraints(0.1, "Br").with_ratio(parameters(2.43))["log_ratio"][0] < 0.05


def test_what_is_said_of_f_double_prime():
    known = restraints()
    usual, much = (known.comment(known.with_ratio(parameters(q))) for q in (0.9, 4.0))
    assert "5.00 electrons" in usual and "in agreement" in usual
    assert "check wavelength" in much and "near an absorption edge" not in much
    assert "near an absorption edge" in restraints(0.4).comment(parameters(0.9))


def test_pull_is_the_gradient_of_the_penalty():
    values, known = parameters(0.4), restraints()
    free = ("occupancy", "log_scale", "log_sigma", "b", "b_iso", "xyz")
    gradient = {name: np.zeros_like(values[name]) for name in free}
    known.penalty(values, gradient)
    for name in free:
        for place in np.ndindex(values[name].shape):
            step = np.zeros_like(values[name])
            step[place] = 1e-5
            up, down = (known.penalty({**values, name: values[name] + s}, {}) for s in (step, -step))
            assert -gradient[name][place] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6)
