"""Absolute scale of the sites: from Wilson statistics, and what it does to wrong f''."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest
from anomalous import make

from crank2_unet.crystal.observations import AnomalousData
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.sad.friedel import Observed
from crank2_unet.sad.restraints import Restraints
from crank2_unet.sad.scatterer import Scatterer
from crank2_unet.sad.wilson import AbsoluteScale, wilson_scale
from crank2_unet.solvent.matthews import Composition

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
    observed = Observed.of(data)
    scale = wilson_scale(observed, cell, group)
    assert scale.log == pytest.approx(np.log(3.0), abs=0.12)
    assert scale.b == pytest.approx(30.0, abs=4.0)


def restraints(uncertainty=0.1, element="Se"):
    return Restraints(AbsoluteScale(1.0, 20.0, 0.2),
                      replace(SELENIUM, uncertainty=uncertainty, element=element),
                      np.array([30.0, 40.0, 50.0]))


def parameters(occupancy):
    """Two sites that scatter f'' times ``occupancy`` on the scale of :func:`restraints`."""
    return {"occupancy": np.array([1.0, 1.0]), "log_scale": np.array([1.0 + np.log(occupancy)]),
            "log_ratio": np.zeros(1), "log_sigma": np.array([0.2]), "b": np.array([4.0]),
            "b_iso": np.array([15.0, 30.0]), "xyz": np.array([[0.2, 0.21, 0.2], [0.19, 0.2, 0.2]]),
            "reference": np.full((2, 3), 0.2)}


@pytest.mark.parametrize("uncertainty", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("element", ["Se", "Br"])
def test_sites_are_never_taken_for_more_than_fully_occupied(element, uncertainty):
    """They scatter three times what full ones with the given f'' can: the f'' is wrong."""
    known = restraints(uncertainty, element)
    assert known.occupancy(known.with_ratio(parameters(3.0))) < 1.15


def test_f_double_prime_moves_as_far_as_it_is_uncertain():
    found = {u: restraints(u).with_ratio(parameters(0.55))["log_ratio"][0] for u in (0.02, 0.1, 0.4)}
    assert abs(found[0.02]) < 0.01 and -0.15 < found[0.1] < -0.03 and found[0.4] < -0.25
    # a soaked ion may have any occupancy below 1, so that f'' stays
    assert abs(restraints(0.1, "Br").with_ratio(parameters(0.3))["log_ratio"][0]) < 0.03


def test_what_is_said_of_f_double_prime():
    known = restraints()
    usual, much = (known.comment(known.with_ratio(parameters(q))) for q in (0.85, 4.0))
    assert "expected 5.00 ± 10 %" in usual and "in agreement" in usual
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


def test_composition_decides_on_the_scale_as_far_as_copies_are_certain():
    made = make("P 43 21 2", d_min=3.5)
    r, observed = made.data.reflections, Observed.of(made.data)
    unknown, dense, loose, wrong = (wilson_scale(observed, r.cell, r.spacegroup, composition)
                                    for composition in (None, *(Composition(mass) for mass in (
                                        9500.0, 4500.0, 2250.0))))
    volume = r.cell.volume / 8  # of 17,600 cubic Angstrom
    assert dense.log - unknown.log == pytest.approx(-0.8 * np.log(9500 * 2.4 / volume) / 2, abs=0.01)
    assert dense.width < unknown.width + 0.02
    # of half a copy there are more: at worst nothing is known
    assert abs(wrong.log - loose.log) < 0.1 and wrong.width < unknown.width + 0.05


def test_what_surrounds_a_site_weakens_it_at_low_resolution_only():
    d = np.array([9.0, 4.2, 2.0])
    own, all_of_it = SELENIUM.form_factor(d ** -2), SELENIUM.with_surroundings(d ** -2)
    assert abs(all_of_it[0]) < 0.2 * own[0]
    assert 1.1 < all_of_it[1] / own[1] < 1.4
    assert all_of_it[2] == pytest.approx(own[2], abs=0.5)
    gold = Scatterer("Au", -5.0, 7.0)
    assert np.array_equal(gold.form_factor(d ** -2), gold.with_surroundings(d ** -2))
