"""Simulated SAD data against direct summation, and each error against its setting."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest
from peptide import peptide
from perfect_experiment import PERFECT

from crank2_unet.crystal.reflections import Reflections
from crank2_unet.errors import InputError
from crank2_unet.sad.phasing import Scatterer
from crank2_unet.simulation.experiment import simulate_sad
from crank2_unet.simulation.random_settings import random_settings


def direct_sum(structure, hkl, settings):
    """F(h) with f0 + f' + if'' of every atom and every symmetry mate, methionine S as Se."""
    total = np.zeros(len(hkl), complex)
    s2 = structure.cell.calculate_1_d2_array(hkl)
    for cra in structure[0].all():
        element = cra.atom.element
        f1, f2 = gemmi.cromer_liberman(element.atomic_number, 12398.4198 / settings.wavelength)
        if element.name == "S":
            element = gemmi.Element("Se")
            f1, f2 = settings.scatterer.f_prime, settings.scatterer.f_double_prime
        f0 = np.array([element.it92.calculate_sf(s / 4) for s in s2])
        factor = cra.atom.occ * (f0 + f1 + 1j * f2) * np.exp(-cra.atom.b_iso * s2 / 4)
        x = structure.cell.fractionalize(cra.atom.pos).tolist()
        for op in structure.find_spacegroup().operations():
            total += factor * np.exp(2j * np.pi * hkl @ np.array(op.apply_to_xyz(x)))
    return total


@pytest.mark.slow
@pytest.mark.parametrize("spacegroup, cell", [
    ("P 1", (20, 24, 28, 80, 95, 100)), ("P 21 21 21", (28, 32, 36, 90, 90, 90)),
    ("P 65", (36, 36, 30, 90, 90, 120)), ("C 1 2 1", (50, 30, 30, 90, 105, 90))])
def test_mates_are_those_of_a_direct_summation(spacegroup, cell):
    structure = peptide(spacegroup, cell=cell)
    simulated = simulate_sad(structure, PERFECT, np.random.default_rng(0))
    r = simulated.data.reflections
    plus = direct_sum(structure, r.hkl, PERFECT)
    minus = direct_sum(structure, -r.hkl, PERFECT)
    scale = np.sqrt(np.mean(np.abs(plus) ** 2))
    assert np.abs(simulated.f_true - (plus + np.conj(minus)) / 2).max() < 0.02 * scale
    acentric = ~r.centric
    dano = (simulated.data.f_plus - simulated.data.f_minus)[acentric]
    expected = (np.abs(plus) - np.abs(minus))[acentric]
    assert np.abs(dano - expected).max() < 0.02 * np.abs(expected).max()
    assert np.isnan(simulated.data.f_minus[r.centric]).all()
    np.testing.assert_allclose(np.abs(plus[r.centric]), np.abs(minus[r.centric]), atol=1e-6 * scale)


def test_reported_uncertainties_are_those_of_the_errors():
    settings = replace(PERFECT, d_min=1.5, i_over_sigma=8.0, relative_error=0.03)
    simulated = simulate_sad(peptide(), settings, np.random.default_rng(1))
    exact = simulate_sad(peptide(), replace(settings, i_over_sigma=1e6, relative_error=0.0),
                         np.random.default_rng(1))
    strong = simulated.data.f_plus > 4 * simulated.data.sigf_plus
    deviation = ((simulated.data.f_plus - exact.data.f_plus) / simulated.data.sigf_plus)[strong]
    assert deviation.std() == pytest.approx(1.0, abs=0.08)
    assert abs(deviation.mean()) < 0.15


def test_signal_falls_with_resolution_to_the_value_asked_for():
    settings = replace(PERFECT, d_min=1.5, i_over_sigma=3.0, relative_error=0.05)
    data = simulate_sad(peptide(), settings, np.random.default_rng(1)).data
    shell = data.reflections.in_bins(20)
    # sigma(I)/I = 2 sigma(F)/F
    ratio = data.f_plus / data.sigf_plus / 2
    assert np.nanmean(data.f_plus[shell == 19] ** 2) / np.nanmean(
        2 * (data.f_plus * data.sigf_plus)[shell == 19]) == pytest.approx(3.0, rel=0.35)
    assert np.nanmean(ratio[shell == 0]) > 1.5 * np.nanmean(ratio[shell == 19])


def test_missing_data():
    settings = replace(PERFECT, d_min=1.8, completeness=0.8, d_max=9.0, overloads=0.2)
    data = simulate_sad(peptide(), settings, np.random.default_rng(2)).data
    d = data.reflections.d
    assert np.isnan(data.f_plus[d > 9.0]).all() and np.isnan(data.sigf_plus[d > 9.0]).all()
    low, high = (d < 9.0) & (d > 6.0), d < 6.0
    assert np.isfinite(data.f_plus[high]).mean() == pytest.approx(0.8, abs=0.03)
    complete = simulate_sad(peptide(), replace(settings, completeness=1.0, overloads=0.2),
                            np.random.default_rng(2)).data
    full = simulate_sad(peptide(), replace(settings, completeness=1.0, overloads=0.0),
                        np.random.default_rng(2)).data
    gone = low & np.isnan(complete.f_plus)
    assert gone.any() and full.f_plus[gone].min() > np.nanmean(full.f_plus[low])


def test_sites_have_the_errors_asked_for():
    settings = replace(PERFECT, site_shift=0.3, missing_sites=1 / 3, spurious_sites=1.0)
    structure = peptide(n_residues=36, cell=(30, 50, 50, 90, 90, 90))
    true = np.array([cra.atom.pos.tolist() for cra in structure[0].all() if cra.atom.name == "SD"])
    sites = simulate_sad(structure, settings, np.random.default_rng(3)).sites
    found = np.array([cra.atom.pos.tolist() for cra in sites[0].all()])
    assert len(true) == 9 and len(found) == 6 + 9
    distance = np.linalg.norm(found[:6, None] - true, axis=2).min(axis=1)
    assert 0.15 < np.sqrt(np.mean(distance ** 2)) < 0.5
    assert {cra.atom.element.name for cra in sites[0].all()} == {"Se"}
    assert sites.find_spacegroup().hm == "P 21 21 21"


def test_soaked_atoms_touch_the_molecule_without_overlap():
    settings = replace(PERFECT, scenario="soak", scatterer=Scatterer("I", -0.6, 6.8), n_soaked=15,
                       wavelength=1.54)
    structure = peptide()
    sites = simulate_sad(structure, settings, np.random.default_rng(4)).sites
    neighbours = gemmi.NeighborSearch(structure[0], structure.cell, 8.0).populate()
    nearest = [min(mark.pos.dist(cra.atom.pos) for mark in neighbours.find_atoms(cra.atom.pos))
               if neighbours.find_atoms(cra.atom.pos) else np.inf for cra in sites[0].all()]
    assert len(nearest) == 15
    assert min(nearest) > 2.0 and max(nearest) < 5.5


def test_anisotropy_keeps_the_symmetry_of_the_lattice():
    structure = peptide("P 65", cell=(36, 36, 30, 90, 90, 120))
    ratio = np.abs(
        simulate_sad(structure, replace(PERFECT, anisotropy=10.0), np.random.default_rng(0)).f_true
        / simulate_sad(structure, PERFECT, np.random.default_rng(0)).f_true)
    hkl = Reflections(structure.cell, structure.find_spacegroup(), PERFECT.d_min).hkl
    found = {tuple(h): value for h, value in zip(hkl.tolist(), ratio)}
    # along a* and along a* + b*, which the hexad does not relate: equal fall-off per 1/d^2
    assert np.log(found[0, 6, 0]) / 36 == pytest.approx(np.log(found[3, 3, 0]) / 27, rel=1e-3)
    assert np.log(found[0, 0, 6]) * np.log(found[0, 6, 0]) < 0  # traceless


def test_same_seed_same_data_and_the_structure_is_left_alone():
    structure = peptide()
    before = structure.make_pdb_string()
    first, second = (simulate_sad(structure, random_settings(structure, rng), rng)
                     for rng in map(np.random.default_rng, (7, 7)))
    np.testing.assert_array_equal(first.data.f_plus, second.data.f_plus)
    assert structure.make_pdb_string() == before


def test_oddities_of_depositions_do_no_harm():
    structure = peptide()
    for place, cra in enumerate(structure[0].all()):
        cra.atom.b_iso = (0.0, -3.0, 20.0, 900.0)[place % 4]
        cra.atom.occ = (1.0, 2.0, 0.0)[(place + 1) % 3]
    simulated = simulate_sad(structure, PERFECT, np.random.default_rng(0))
    assert np.isfinite(simulated.f_true).all()
    assert np.abs(simulated.f_true).max() < 8 * 60 * 4  # electrons of all atoms in the cell


def test_random_settings_are_possible_experiments():
    structure = peptide()
    drawn = [random_settings(structure, np.random.default_rng(seed)) for seed in range(60)]
    assert {s.scenario for s in drawn} == {"SeMet", "native", "soak"}
    assert all(2.0 <= s.d_min <= 4.0 and s.d_max > s.d_min for s in drawn)
    assert all(s.scatterer.f_double_prime > 0.5 and s.completeness <= 1.0 for s in drawn)
    assert len({s.d_min for s in drawn}) > 20


def test_native_experiments_use_the_dominant_scatterer():
    structure = peptide()
    structure[0]["A"][0]["CB"][0].element = gemmi.Element("Hg")
    drawn = [random_settings(structure, np.random.default_rng(seed)) for seed in range(60)]
    assert {s.scatterer.element for s in drawn if s.scenario == "native"} == {"Hg"}


def test_element_that_is_not_there():
    settings = replace(PERFECT, scenario="native", scatterer=Scatterer("Zn", -1.0, 2.0))
    with pytest.raises(InputError, match="has no Zn atom"):
        simulate_sad(peptide(), settings, np.random.default_rng(0))
