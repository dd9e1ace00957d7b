"""Each fault of a simulated measurement does what its setting says, and nothing else."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest
from peptide import peptide
from perfect_experiment import PERFECT

from crank2_unet.crystal.reflections import Reflections
from crank2_unet.simulation.experiment import simulate_sad
from crank2_unet.simulation.faults import on_ice_rings, out_of_reach, twinned
from crank2_unet.simulation.random_settings import random_settings


def simulate(seed=1, structure=None, **changed):
    return simulate_sad(structure or peptide(), replace(PERFECT, **changed),
                        np.random.default_rng(seed))


def test_f_double_prime_is_wrong_as_given_but_not_in_the_data():
    right, wrong = simulate(), simulate(f_double_prime_error=0.1)
    assert wrong.scatterer.f_double_prime == pytest.approx(0.1 * right.scatterer.f_double_prime)
    np.testing.assert_array_equal(wrong.data.f_plus, right.data.f_plus)


def test_errors_of_friedel_mates_go_together():
    exact = simulate(d_min=1.5).data
    for shared in (0.0, 0.7):
        data = simulate(d_min=1.5, i_over_sigma=8.0, relative_error=0.03,
                        friedel_correlation=shared).data
        strong = (data.f_plus > 4 * data.sigf_plus) & (data.f_minus > 4 * data.sigf_minus)
        errors = [((f - true) / sigma)[strong] for f, true, sigma in
                  ((data.f_plus, exact.f_plus, data.sigf_plus),
                   (data.f_minus, exact.f_minus, data.sigf_minus))]
        assert np.corrcoef(*errors)[0, 1] == pytest.approx(shared, abs=0.08)
        assert np.std(errors[0]) == pytest.approx(1.0, abs=0.08)


def test_minor_sites_scatter_but_are_not_given():
    without, with_them = simulate(), simulate(minor_sites=2.0)
    assert len(list(with_them.sites[0].all())) == len(list(without.sites[0].all()))
    change = with_them.f_true - without.f_true
    rms = np.sqrt(np.mean(np.abs(change) ** 2))
    # six atoms of 27 electrons in each of four places, 5 to 30 % of them there
    assert 0.05 * 27 * np.sqrt(24) / 3 < rms < 0.3 * 27 * np.sqrt(24)


def test_damage_makes_differences_that_are_not_anomalous():
    intact, damaged = simulate().data, simulate(radiation_damage=0.2).data
    acentric = ~intact.reflections.centric
    noise = 1e-3 * np.sqrt(np.nanmean(intact.f_plus ** 2))
    changed_plus = np.abs(damaged.f_plus - intact.f_plus)[acentric] > noise
    changed_minus = np.abs(damaged.f_minus - intact.f_minus)[acentric] > noise
    assert not (changed_plus & changed_minus).any()  # one of the mates is measured first
    assert 0.4 < changed_plus.mean() < 0.6 and 0.4 < changed_minus.mean() < 0.6


@pytest.mark.parametrize("cone, wedge", [(25.0, 0.0), (0.0, 60.0)])
def test_lost_directions_are_a_cone_or_a_wedge(cone, wedge):
    cell = gemmi.UnitCell(30, 34, 38, 80, 95, 100)
    r = Reflections(cell, gemmi.SpaceGroup("P 1"), 2.0)
    lost = out_of_reach(r, cone, wedge, np.random.default_rng(0))
    share = 1 - np.cos(np.deg2rad(cone)) if cone else wedge / 180
    assert lost.mean() == pytest.approx(share, abs=0.02)
    s = r.hkl @ np.array(cell.frac.mat.tolist())
    s = s / np.linalg.norm(s, axis=1)[:, None]
    moments = np.sort(np.linalg.eigvalsh(s[lost].T @ s[lost] / lost.sum()))
    # along one axis; or away from one across the other two
    assert moments[2] > 0.8 if cone else moments[0] < 0.12 and moments[2] > 0.4


def test_symmetry_fills_the_wedge():
    cell = gemmi.UnitCell(40, 40, 40, 90, 90, 90)
    lost = [out_of_reach(Reflections(cell, gemmi.SpaceGroup(symbol), 2.5), 0.0, 80.0,
                         np.random.default_rng(1)).mean() for symbol in ("P 1", "P 2 3")]
    assert lost[0] > 0.4 and lost[1] < 0.1


def test_ice_takes_its_rings():
    data = simulate(d_min=1.5, ice_rings=0.01).data
    on_ring = on_ice_rings(data.reflections, 0.01)
    assert 0.02 < on_ring.mean() < 0.4
    np.testing.assert_array_equal(np.isnan(data.f_plus), on_ring)
    assert on_ring[np.argmin(np.abs(data.reflections.d - 2.25))]


def test_twins_mix_intensities_and_symmetric_lattices_do_not():
    r = Reflections(gemmi.UnitCell(40, 40, 60, 90, 90, 90), gemmi.SpaceGroup("P 43"), 3.0)
    rng = np.random.default_rng(0)
    plus, minus = rng.exponential(1.0, (2, len(r)))
    minus = np.where(r.centric, plus, minus)
    mixed = twinned(plus, minus, r, 0.5)
    place = {tuple(h): i for i, h in enumerate(r.hkl.tolist())}
    i, j = place[2, 5, 7], place[5, 2, 7]
    # (2,5,7) lies on (-2,5,-7), which the fourfold axis takes to the mate of (5,2,7)
    assert mixed[0][i] == pytest.approx((plus[i] + minus[j]) / 2)
    assert mixed[1][j] == pytest.approx((minus[j] + plus[i]) / 2)
    assert mixed[0].var() < 0.7 * plus.var()
    assert twinned(plus, minus, r, 0.0)[0] is plus
    one_way = Reflections(gemmi.UnitCell(30, 40, 50, 90, 90, 90), gemmi.SpaceGroup("P 21 21 21"), 3.0)
    same = rng.exponential(1.0, len(one_way))
    assert twinned(same, same, one_way, 0.3)[0] is same


def test_faults_are_drawn_but_not_always():
    drawn = [random_settings(peptide(), np.random.default_rng(seed)) for seed in range(80)]
    for name in ("friedel_correlation", "minor_sites", "radiation_damage", "missing_cone",
                 "missing_wedge", "ice_rings", "twin_fraction"):
        values = np.array([getattr(s, name) for s in drawn])
        assert 0 < (values > 0).sum() < 60, name
    errors = np.log([s.f_double_prime_error for s in drawn])
    assert np.abs(errors).max() > 0.2 and np.median(np.abs(errors)) < 0.15
