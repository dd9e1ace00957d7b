"""SAD phases of made-up crystals whose mates are summed atom by atom, independently of the code."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import gemmi
import numpy as np
import pytest
from anomalous import CRYSTALS, SELENIUM, make, make_sites, waves

from crank2_unet.crystal.observations import AnomalousData
from crank2_unet.crystal.phases import map_correlation, phi_fom_from_hl, to_complex
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.errors import InputError
from crank2_unet.sad.friedel import Observed
from crank2_unet.sad.likelihood import Model
from crank2_unet.sad.phasing import Scatterer, other_hand, phase_sad


def centroid_correlation(result, true: np.ndarray, acentric: np.ndarray) -> float:
    """Correlation of fom exp(i phi) with the true phases, weighted by true amplitude squared."""
    centroid = to_complex(result.fom * np.abs(true), result.phi)
    return map_correlation(centroid[acentric], true[acentric], np.ones(acentric.sum()))


@pytest.mark.slow
@pytest.mark.parametrize("symbol", CRYSTALS)
def test_error_free_mates_give_the_true_phases_and_only_in_the_true_hand(symbol):
    made = make(symbol)
    r = made.data.reflections
    phased = phase_sad(made.data, made.sites, SELENIUM, 0)
    right = centroid_correlation(phased, made.f, ~r.centric)
    assert right > 0.85  # centroids of ambiguous (bimodal) phases alone reach 0.71
    turned, group = other_hand(made.sites, r.spacegroup)
    data = replace(made.data, reflections=Reflections(r.cell, group, r.d_min))
    misled = phase_sad(data, turned, SELENIUM, 0)
    assert abs(centroid_correlation(misled, made.f, ~r.centric)) < 0.2
    assert phased.statistics["map_skewness"] > misled.statistics["map_skewness"] + 0.1


@pytest.mark.slow
def test_foms_are_honest(monkeypatch):
    """With as many atoms as in a protein crystal, but in random places, which surround nothing."""
    monkeypatch.setattr("crank2_unet.sad.scatterer._AROUND", {})
    for noise in (0.02, 0.05):
        made = make("P 31 2 1", noise, n_light=380)
        result = phase_sad(made.data, made.sites, SELENIUM, 0)
        error = np.deg2rad(result.phi) - np.angle(made.f)
        for chosen in (made.data.reflections.centric, ~made.data.reflections.centric):
            cosine = np.cos(error[chosen]).mean()
            assert np.mean(result.fom[chosen]) == pytest.approx(cosine, abs=0.07)
    assert 0.1 < result.fom.mean() < 0.6


@pytest.mark.slow
def test_refinement_puts_displaced_sites_back():
    made = make("P 43 21 2", 0.02, n_light=150)
    rng = np.random.default_rng(1)
    moved = made.sites.clone()
    for site, occupancy in zip(moved[0].all(), (0.5, 2.0, 1.0)):
        shift = gemmi.Position(*rng.normal(0, 0.25, 3))
        site.atom.pos, site.atom.occ = site.atom.pos + shift, occupancy
    done = []
    result = phase_sad(made.data, moved, SELENIUM, 3, lambda *count: done.append(count))
    distances = [a.atom.pos.dist(b.atom.pos)
                 for a, b in zip(result.sites[0].all(), made.sites[0].all())]
    assert max(distances) < 0.08
    assert min(site.atom.occ for site in result.sites[0].all()) > 0.85
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert result.fom.mean() > phase_sad(made.data, moved, SELENIUM, 0).fom.mean() + 0.05


@pytest.mark.slow
def test_sites_stay_where_they_are_along_a_polar_axis():
    made = make("P 1 21 1", 0.03)
    moved = made.sites.clone()
    next(iter(moved[0].all())).atom.pos += gemmi.Position(0.3, 0.0, 0.3)
    result = phase_sad(made.data, moved, SELENIUM, 2)
    y = [[site.atom.pos.y for site in s[0].all()] for s in (result.sites, made.sites)]
    assert np.mean(y[0]) == pytest.approx(np.mean(y[1]), abs=0.02)


@pytest.mark.slow
def test_the_scale_of_the_data_does_not_matter():
    made = make("C 1 2 1", 0.03)
    d = made.data
    scaled = AnomalousData(d.reflections, 7 * d.f_plus, 7 * d.sigf_plus, 7 * d.f_minus,
                           7 * d.sigf_minus, None)
    one, two = (phase_sad(x, made.sites, SELENIUM, 0) for x in (d, scaled))
    np.testing.assert_allclose(two.f, 7 * one.f)
    np.testing.assert_allclose(two.hl, one.hl, rtol=0.05, atol=0.05)


def test_missing_mates_and_outliers():
    made = make("P 1", 0.03)
    d = made.data
    f_plus, f_minus = d.f_plus.copy(), d.f_minus.copy()
    f_plus[:200], f_minus[100:300] = np.nan, np.nan  # 100 without +, 100 without any, 100 without -
    f_plus[300] *= 30
    data = replace(d, f_plus=f_plus, f_minus=f_minus)
    result = phase_sad(data, made.sites, SELENIUM, 0)
    neither, one, outlier = slice(100, 200), np.r_[0:100, 200:300], [300]
    assert np.isnan(result.f[neither]).all() and np.isnan(result.sigf[neither]).all()
    assert not result.hl[neither].any() and result.fom[neither].max() < 1e-12
    np.testing.assert_array_equal(result.f[:100], f_minus[:100])
    assert not result.hl[one, 2:].any() and result.hl[one, :2].all()
    assert not result.hl[outlier, 2:].any()
    assert result.statistics["n_pairs"] == np.isfinite(f_plus - f_minus).sum() - 1
    np.testing.assert_allclose(result.f[301:], (d.f_plus + d.f_minus)[301:] / 2)


def test_centric_phases_are_allowed_ones_and_statistics_can_be_written():
    made = make("P 43 21 2", 0.03)
    result = phase_sad(made.data, made.sites, SELENIUM, 0)
    r = made.data.reflections
    off = (result.phi - r.allowed_phase)[r.centric] % 180
    np.testing.assert_allclose(np.minimum(off, 180 - off), 0, atol=1e-3)
    np.testing.assert_array_equal(result.fom, phi_fom_from_hl(result.hl, r.allowed_phase)[1])
    assert json.loads(json.dumps(result.statistics)) == result.statistics
    assert sum(row["n"] for row in result.statistics["bins"]) == len(r)


@pytest.mark.parametrize("phased", [False, True])
def test_gradient_is_that_of_the_likelihood(phased):
    made = make("P 31 2 1", 0.05, d_min=4.0)
    observed = Observed.of(made.data)
    r = made.data.reflections
    prior = np.random.default_rng(5).normal(0, 0.5, (len(r), 4)) if phased else None
    observed = observed.select(observed.paired)
    model = Model(observed, r, SELENIUM,
                  None if prior is None else prior[observed.place])
    values = model.start(made.sites)
    partials = model.partials(values)
    total, gradient, by_base = model.log_likelihood(values, partials)
    gradient.update(model._site_gradient(values, partials, by_base))
    for name, expected in gradient.items():
        def at(x, name=name):
            changed = {**values, name: x.reshape(values[name].shape)}
            return model.log_likelihood(changed, model.partials(changed))[0]
        # steps well above the noise of single precision
        step = 1e-2 * model.units[name] * np.ones_like(values[name])
        found = (np.array([at(values[name].ravel() + e) - at(values[name].ravel() - e)
                           for e in np.diag(step.ravel())]) / (2 * step.ravel()))
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, np.ravel(expected), atol=0.02 * scale, err_msg=name)


@pytest.mark.parametrize("symbol", ["P 1", "P 41", "P 31 2 1", "I 41", "I 41 2 2", "F 41 3 2",
                                    "P 43 3 2", "R 3:R", "P 65 2 2"])
def test_the_other_hand_diffracts_alike_and_its_other_hand_is_the_first(symbol):
    cells = {"P 1": (25, 28, 31, 80, 95, 104), "R 3:R": (40, 40, 40, 83, 83, 83)}
    group = gemmi.SpaceGroup(symbol)
    side = 120 if group.crystal_system_str() in ("trigonal", "hexagonal") else 90
    long = 50 if group.crystal_system_str() == "cubic" else 61
    cell = gemmi.UnitCell(*cells.get(symbol, (50, 50, long, 90, 90, side)))
    sites = make_sites(cell, group, np.random.default_rng(3).random((4, 3)))
    turned, turned_group = other_hand(sites, group)
    hkl = np.array([h for h in np.ndindex(7, 7, 7)]) - 3

    def amplitudes(structure, symmetry):
        x = [cell.fractionalize(s.atom.pos).tolist() for s in structure[0].all()]
        return np.abs(waves(hkl, symmetry, np.array(x)) @ [1.0, 0.8, 1.2, 0.5])

    mirrored = amplitudes(turned, turned_group)
    np.testing.assert_allclose(mirrored, amplitudes(sites, group), atol=1e-6)
    again, again_group = other_hand(turned, turned_group)
    assert again_group.xhm() == group.xhm()
    for a, b in zip(again[0].all(), sites[0].all()):
        assert a.atom.pos.dist(b.atom.pos) < 1e-6


def test_input_that_cannot_be_phased():
    made = make("P 1", d_min=4.0)
    with pytest.raises(InputError, match="f''"):
        phase_sad(made.data, made.sites, Scatterer("Se", -4.0, 0.0))
    with pytest.raises(InputError, match="no atom"):
        phase_sad(made.data, gemmi.Structure(), SELENIUM)
    with pytest.raises(InputError, match="Friedel"):
        phase_sad(replace(made.data, f_minus=np.full(len(made.f), np.nan)), made.sites, SELENIUM)
    with pytest.raises(InputError, match="form factor"):
        Scatterer("Es", 0.0, 1.0).form_factor(np.zeros(1))


def test_theoretical_f_double_prime():
    above, below = (Scatterer.at_wavelength("Se", w) for w in (0.97, 0.99))
    assert above.f_double_prime == pytest.approx(3.8, abs=0.2)
    assert below.f_double_prime < 1.0 and below.f_prime < -4
    assert above.uncertainty == below.uncertainty == 0.1


@pytest.mark.parametrize("energy", [12648.0, 12656.0, 12661.0, 12669.0])
def test_on_either_side_of_an_edge_a_white_line_is_possible(energy):
    near = Scatterer.at_wavelength("Se", gemmi.hc / energy)
    assert near.f_double_prime == pytest.approx(4.6, abs=0.1)
    low, high = near.f_double_prime * np.exp([-2 * near.uncertainty, 2 * near.uncertainty])
    assert low < 2.5 and high > 7.5  # inflection points and strong white lines
    assert -10 < near.f_prime < -6


# name, d_min to cut to, element, map correlation and mean phase error to be reached
REAL = [("hewl_s_sad", None, "S", 0.47, 57.0), ("gamma_xe", None, "Xe", 0.47, 71.0),
        ("5xfd_se_sad", 2.8, "Se", 0.18, 78.0)]


@pytest.mark.realdata
@pytest.mark.parametrize("name, d_min, element, least_correlation, largest_error", REAL)
def test_real_data(shared_data, name, d_min, element, least_correlation, largest_error):
    from crank2_unet.files.mtz_input import read_anomalous
    folder = shared_data / "sad" / name
    _, data, _ = read_anomalous(folder / "data.mtz")
    if d_min:
        full, r = data.reflections, Reflections(data.reflections.cell,
                                                data.reflections.spacegroup, d_min)
        columns = [r.spread(full.hkl, x) for x in (data.f_plus, data.sigf_plus, data.f_minus,
                                                   data.sigf_minus)]
        data = AnomalousData(r, *columns, data.wavelength)
    wavelength = json.loads((folder / "meta.json").read_text())["wavelength"]
    result = phase_sad(data, gemmi.read_structure(str(folder / "sites.pdb")),
                       Scatterer.at_wavelength(element, wavelength), cycles=1)
    r = data.reflections
    true = model_factors(folder / "model.pdb.gz", r, result.sites if element == "Xe" else None)
    chosen = np.isfinite(data.f_plus + data.f_minus)
    f = np.where(chosen, result.f, 0.0)
    correlation = map_correlation(to_complex(f * result.fom, result.phi),
                                  to_complex(f, np.rad2deg(np.angle(true))), r.multiplicity)
    error = np.abs(np.angle(to_complex(1.0, result.phi) * np.conj(true), deg=True))[chosen]
    assert correlation > least_correlation
    assert error.mean() < largest_error
    assert abs(result.fom[chosen].mean() - np.cos(np.deg2rad(error)).mean()) < 0.08


def model_factors(path, reflections: Reflections, sites=None) -> np.ndarray:
    """Structure factors of a model, without bulk solvent, with sites that it lacks."""
    structure = gemmi.read_pdb_string(gzip.decompress(path.read_bytes()).decode())
    for chain in sites[0] if sites else ():
        structure[0].add_chain(chain)
    structure.cell = reflections.cell
    structure.spacegroup_hm = reflections.spacegroup.xhm()
    structure.setup_cell_images()
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min, calculator.rate = reflections.d_min, 1.5
    calculator.set_refmac_compatible_blur(structure[0])
    calculator.grid.setup_from(structure)
    calculator.put_model_density_on_grid(structure[0])
    values = gemmi.transform_map_to_f_phi(calculator.grid).get_value_by_hkl(reflections.hkl)
    return values * np.exp(calculator.blur * reflections.inverse_d_squared / 4)
