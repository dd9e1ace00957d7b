"""Sites found, dropped and merged, in made-up crystals whose mates are summed atom by atom."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from anomalous import SELENIUM, Made, make, make_sites, waves

from crank2_unet.crystal.observations import AnomalousData
from crank2_unet.crystal.phases import hl_from_phi_fom
from crank2_unet.sad.completion import peaks
from crank2_unet.sad.friedel import Observed
from crank2_unet.sad.gradient import distances
from crank2_unet.sad.likelihood import Model
from crank2_unet.sad.phasing import phase_sad
from crank2_unet.sad.scatterer import Scatterer


def fractional(sites: gemmi.Structure) -> np.ndarray:
    return np.array([sites.cell.fractionalize(s.atom.pos).tolist() for s in sites[0].all()])


def with_positions(made: Made, xyz: np.ndarray) -> gemmi.Structure:
    return make_sites(made.sites.cell, made.data.reflections.spacegroup, xyz)


def model_of(made: Made) -> Model:
    r, observed = made.data.reflections, Observed.of(made.data)
    return Model(observed.select(observed.paired), r, SELENIUM)


def offsets(made: Made, sites: gemmi.Structure) -> np.ndarray:
    """Distance of each of the sites from the nearest true one, Angstrom."""
    return distances(model_of(made), fractional(made.sites), fractional(sites)).min(axis=0)


@pytest.mark.parametrize("symbol", ["P 1 21 1", pytest.param("P 31 2 1", marks=pytest.mark.slow),
                                    pytest.param("C 1 2 1", marks=pytest.mark.slow)])
def test_missing_sites_are_found_and_wrong_ones_dropped(symbol):
    made = make(symbol, 0.02, n_sites=5)
    true = fractional(made.sites)
    start = with_positions(made, np.concatenate([true[:3], [[0.41, 0.12, 0.27]]]))
    without = phase_sad(made.data, start, SELENIUM, 1, complete=False)
    result = phase_sad(made.data, start, SELENIUM, 1)
    assert len(fractional(result.sites)) == 5
    assert offsets(made, result.sites).max() < 0.3
    changes = result.statistics["completion"]
    assert [row["xyz"] for row in changes["dropped"]] != [] and len(changes["added"]) == 2
    assert all(row["height"] > changes["threshold"] for row in changes["added"])
    assert [row["given"] for row in result.statistics["sites"]] == [True] * 3 + [False] * 2
    errors = [np.abs(np.angle(np.exp(1j * (np.deg2rad(x.phi) - np.angle(made.f))))).mean()
              for x in (result, without)]
    assert errors[0] < errors[1] - 0.1
    assert without.statistics["completion"] is None and without.statistics["n_sites"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_complete_substructures_stay_as_they_are(seed):
    made = make("P 43 21 2", 0.05, seed=seed)
    result = phase_sad(made.data, made.sites, SELENIUM, 1)
    changes = result.statistics["completion"]
    assert not changes["added"] and not changes["dropped"] and not changes["merged"]
    assert changes["rounds"] == 0


def test_sites_that_are_one_by_symmetry_are_merged():
    made = make("P 1 21 1", 0.02)
    true = fractional(made.sites)
    operation = list(made.data.reflections.spacegroup.operations())[1]
    twin = np.array(operation.apply_to_xyz(true[1].tolist())) + [1, 0, -1] + 0.3 / 32
    result = phase_sad(made.data, with_positions(made, np.vstack([true, twin])), SELENIUM, 0)
    assert result.statistics["n_sites"] == 3
    (row,) = result.statistics["completion"]["merged"]
    assert distances(model_of(made), np.array([row["xyz"]]), np.array([row["into"]]))[0, 0] < 1.0


def test_the_gradient_map_has_the_derivative_by_the_occupancy_of_a_new_site():
    """Heights times sigma against differences of the likelihood; H has no part in them."""
    made = make("P 1 21 1", 0.03)
    true = fractional(made.sites)
    model = model_of(made)
    r = made.data.reflections
    observed = model.obs
    model.prior = hl_from_phi_fom(np.rad2deg(np.angle(made.f)), np.full(len(r), 0.9),
                                  r.allowed_phase)[observed.place]
    values = model.fit(model.start(with_positions(made, true[:2])), sites_too=False)
    xyz, height, sigma = peaks(model, values, 25.0, 4.0)
    assert offsets(made, with_positions(made, xyz[:1]))[0] < 0.5

    def likelihood(occupancy: float) -> float:
        more = {name: np.concatenate([values[name], [new]]) for name, new in (
            ("occupancy", occupancy), ("b_iso", 25.0), ("xyz", xyz[0]))}
        now = {**values, **more}
        return model.log_likelihood(now, model.partials(now))[0]

    step = 0.02
    slope = (likelihood(step) - likelihood(-step)) / (2 * step)
    assert height[0] * sigma[0] == pytest.approx(slope, rel=0.05)


@pytest.mark.slow
def test_improved_phases_find_what_the_data_alone_do_not_and_enter_once():
    made = make("P 31 2 1", 0.10, n_sites=5, n_light=150)
    start = with_positions(made, fractional(made.sites)[:2])
    r = made.data.reflections
    prior = hl_from_phi_fom(np.rad2deg(np.angle(made.f)), np.full(len(r), 0.8), r.allowed_phase)
    alone, phased = (phase_sad(made.data, start, SELENIUM, 2, phases=p) for p in (None, prior))
    assert len(fractional(phased.sites)) > len(fractional(alone.sites))
    assert offsets(made, phased.sites).max() < 0.6
    again = phase_sad(made.data, phased.sites, SELENIUM, 1, complete=False)
    # the phases are what data and sites give, not what was lent to find them
    assert phased.fom.mean() == pytest.approx(again.fom.mean(), abs=0.03)
    assert phased.fom.mean() < 0.7


def test_the_scale_of_minor_sites_does_not_matter():
    """Restraints on occupancies go by what scatters."""
    model = model_of(make("P 1", d_min=4.0))
    one = {"occupancy": np.array([1.0, 1.0]), "log_scale": np.zeros(1), "log_ratio": np.zeros(1)}
    more = replace_occupancy(one, [1.0, 1.0, 0.05, 0.05, 0.05])
    known = model.restraints
    assert known.occupancy(more) == pytest.approx(known.occupancy(one), rel=0.01)


def replace_occupancy(values: dict, occupancy: list[float]) -> dict:
    return {**values, "occupancy": np.array(occupancy)}


SULPHUR = Scatterer("S", 0.35, 0.7)


def with_disulphide(d_min: float, noise: float) -> tuple[Made, np.ndarray]:
    """A crystal of four sulphurs, the last two of which are 2.05 Angstrom apart, and their places."""
    plain = make("P 1 21 1", d_min=d_min)
    r, rng = plain.data.reflections, np.random.default_rng(4)
    xyz = rng.random((4, 3))
    bond = plain.sites.cell.fractionalize(gemmi.Position(1.2, -0.9, 1.4)).tolist()
    xyz[3] = xyz[2] + np.array(bond)
    fall = np.exp(-20 * r.inverse_d_squared / 4)
    light = 7.0 * fall * waves(r.hkl, r.spacegroup, rng.random((500, 3))).sum(axis=1)
    plus = fall * waves(r.hkl, r.spacegroup, xyz).sum(axis=1)
    minus = fall * waves(-r.hkl, r.spacegroup, xyz).sum(axis=1)
    f0 = SULPHUR.form_factor(r.inverse_d_squared)
    mates = [np.abs(light + (f0 + 0.7j) * plus), np.abs(np.conj(light) + (f0 + 0.7j) * minus)]
    sigma = np.full(len(r), noise * np.sqrt(np.mean(mates[0] ** 2)))
    measured = [mate + rng.normal(0, sigma) for mate in mates]
    absent = np.where(r.centric, np.nan, 1.0)
    data = AnomalousData(r, measured[0], sigma, measured[1] * absent, sigma * absent, None)
    return Made(data, plain.sites, light + f0 * plus), xyz


@pytest.mark.slow
def test_a_disulphide_given_as_one_site_is_split_and_a_single_sulphur_is_not(monkeypatch):
    # atoms in random places do not surround the sulphurs as those of a protein do
    monkeypatch.setattr("crank2_unet.sad.scatterer._AROUND", {})
    made, xyz = with_disulphide(1.8, 0.002)
    start = with_positions(made, np.vstack([xyz[:2], xyz[2:].mean(axis=0)]))
    result = phase_sad(made.data, start, SULPHUR, 3)
    (split,) = result.statistics["completion"]["split"]
    assert result.statistics["n_sites"] == 4
    model = model_of(made)
    assert distances(model, np.array(split["into"]), xyz[2:]).min(axis=0).max() < 0.3
    whole = phase_sad(made.data, start, SULPHUR, 3, complete=False)
    assert whole.fom.mean() < result.fom.mean()
