import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.crystal.observations import PhasedData
from crank2_unet.crystal.phases import (
    angle_degrees,
    map_correlation,
    phase_difference,
    phi_fom_from_hl,
    to_complex,
)
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.modification.weighting import Trust, combine, no_surer_than


def correlated(reflections, sigma_a, fall_off=10.0):
    """True structure factors and modified ones with correlation ``sigma_a``, on another scale."""
    truth, error = (random_coefficients(reflections, seed) for seed in (1, 2))
    modified = sigma_a * truth + np.sqrt(1 - sigma_a**2) * error
    return (truth * np.exp(-fall_off * reflections.inverse_d_squared),
            0.02 * modified * np.exp(-3 * reflections.inverse_d_squared))


def observed(reflections, truth, hl=None):
    n = len(reflections)
    return PhasedData(reflections, np.abs(truth), np.zeros(n),
                      np.zeros((n, 4)) if hl is None else hl, truth)


@pytest.mark.parametrize("symbol", ["P 1", "P 43 21 2", "C 1 2 1"])
@pytest.mark.parametrize("sigma_a", [0.3, 0.6, 0.9])
def test_sigma_a_and_fom_are_found_from_amplitudes(symbol, sigma_a):
    reflections = crystal(symbol, 2.0)
    truth, modified = correlated(reflections, sigma_a)
    out = combine(observed(reflections, truth), modified)
    # 0.3: amplitudes alone hold little information, a correlation of 0.09
    assert out.sigma_a.mean() == pytest.approx(sigma_a, abs=0.08 if sigma_a < 0.5 else 0.03)
    cosine = np.cos(np.deg2rad(phase_difference(out.phi, np.rad2deg(np.angle(truth)))))
    assert out.fom.mean() == pytest.approx(cosine.mean(), abs=0.06 if sigma_a < 0.5 else 0.03)


@pytest.mark.parametrize("period", [2, 12])
def test_strong_and_weak_regions_of_reciprocal_space_are_no_agreement_of_phases(period):
    """As translational NCS makes them: here some layers along l are strong in both."""
    reflections = crystal("P 1", 2.0)
    truth, modified = correlated(reflections, 0.0)
    strong = 1 + 0.5 * np.cos(2 * np.pi * reflections.hkl[:, 2] / period)
    out = combine(observed(reflections, truth * strong), modified * strong)
    assert out.sigma_a.mean() < 0.2  # 0.56 and 0.46 if neighbours are not looked at


@pytest.mark.parametrize("right", [True, False])
def test_amplitudes_that_were_held_back_decide_the_trust(right):
    reflections = crystal("P 43 21 2", 2.0)
    truth, modified = correlated(reflections, 0.8)
    held_back = np.random.default_rng(3).random(len(truth)) < 0.1
    if not right:  # a map that has learnt the amplitudes that it was shown, and knows no others
        modified = np.where(held_back, random_coefficients(reflections, 4) * np.abs(modified).mean(),
                            modified)
    data = observed(reflections, truth)
    out, plain = combine(data, modified, held_back=held_back), combine(data, modified)
    assert 0.85 < out.trust.agreement <= 1.0 if right else 0.1 <= out.trust.agreement < 0.4
    assert out.sigma_a.mean() == pytest.approx(0.8 * out.trust.agreement, abs=0.05)
    # what is held back does not go into the next map
    turned = phase_difference(angle_degrees(out.extrinsic), angle_degrees(modified))
    assert turned[held_back].max() < 1e-6
    assert np.array_equal(combine(data, modified, Trust(0.5)).sigma_a, 0.5 * plain.sigma_a)


@pytest.mark.parametrize("sigma_a, claim, believed", [
    (0.6, 1.0, 1.0), (0.6, 3.0, 0.33), (0.6, 0.5, 1.0), (0.9, 6.0, 0.17), (0.05, 1.0, 1.0)])
def test_a_modified_map_tells_how_far_to_trust_experimental_phases(sigma_a, claim, believed):
    """More is never believed than they claim, and they are not doubted by a map that knows nothing."""
    reflections = crystal("P 21 21 21", 2.0)
    truth, modified = correlated(reflections, sigma_a)
    rng = np.random.default_rng(5)
    phi = np.angle(truth) + rng.vonmises(0, 1.0, len(truth))
    hl = np.zeros((len(truth), 4))
    hl[:, 0], hl[:, 1] = claim * np.cos(phi), claim * np.sin(phi)
    held_back = rng.random(len(truth)) < 0.1
    out = combine(observed(reflections, truth, hl), modified, held_back=held_back)
    assert out.trust.phases == pytest.approx(believed, rel=0.45)  # the prior draws it towards 1
    by_map = combine(observed(reflections, truth), modified, held_back=held_back).hl
    assert np.allclose(out.hl, out.trust.phases * hl + by_map)


def test_a_map_without_information_leaves_the_experimental_phases():
    reflections = crystal("P 21 21 21", 2.0)
    truth, modified = correlated(reflections, 0.0)
    hl = np.zeros((len(reflections), 4))
    hl[:, 0], hl[:, 3] = truth.real / np.abs(truth), 0.3
    out = combine(observed(reflections, truth, hl), modified)
    phi, fom = phi_fom_from_hl(hl, reflections.allowed_phase)
    assert 0 < out.sigma_a.mean() < 0.13  # never 0, which would stop all further progress
    assert np.median(phase_difference(out.phi, phi)) < 8
    assert out.fom.mean() == pytest.approx(fom.mean(), abs=0.03)


def test_overconfident_experimental_phases_do_not_change_sigma_a():
    reflections = crystal("P 1", 2.2)
    truth, modified = correlated(reflections, 0.5)
    wrong = np.full((len(reflections), 4), 3.0)
    assert np.array_equal(combine(observed(reflections, truth, wrong), modified).sigma_a,
                          combine(observed(reflections, truth), modified).sigma_a)


def test_hl_phi_and_fom_agree_and_centric_phases_are_allowed():
    reflections = crystal("P 43 21 2", 2.5)
    truth, modified = correlated(reflections, 0.7)
    out = combine(observed(reflections, truth), modified)
    phi, fom = phi_fom_from_hl(out.hl, reflections.allowed_phase)
    assert np.array_equal(phi, out.phi) and np.array_equal(fom, out.fom)
    off = phase_difference(2 * out.phi, 2 * reflections.allowed_phase)[reflections.centric]
    assert off.max() < 1e-6


@pytest.mark.parametrize("missing", ["scattered", "cone"])
@pytest.mark.parametrize("excess", [1.0, 8.0])
def test_unmeasured_reflections_are_filled_on_the_scale_of_the_observed(missing, excess):
    """Also where the modified map makes too much of them, as it does once it has fed on itself."""
    reflections = crystal("P 1", 2.0)
    truth, modified = correlated(reflections, 0.9)
    missing = reflections.d > 5 if missing == "cone" else np.arange(len(reflections)) % 7 == 0
    data = observed(reflections, np.where(missing, np.nan, truth))
    modified = np.where(missing, excess * modified, modified)
    out = combine(data, modified)
    expected = out.sigma_a * truth
    for coefficients in (out.filled, out.extrinsic):
        turned = phase_difference(angle_degrees(coefficients), angle_degrees(modified))
        assert turned[missing].max() < 1e-6
        power = np.sum(np.abs(coefficients[missing]) ** 2) / np.sum(np.abs(expected[missing]) ** 2)
        # a prior of the weight of 6 reflections holds against one more than against a region
        assert 0.6 < np.sqrt(power) < {1.0: 1.25, 8.0: 2.6}[excess]
    assert out.fom[missing].max() < 1e-9 and np.isfinite(out.filled).all()


def test_reflections_beyond_the_data_are_filled_with_half_of_sigma_a():
    reflections = crystal("P 1", 2.0)
    truth, modified = correlated(reflections, 0.9)
    beyond = reflections.d < 2.5
    out = combine(observed(reflections, np.where(beyond, np.nan, truth)), modified)
    within = out.sigma_a[~beyond & (reflections.d < 2.6)]
    assert out.sigma_a[beyond] == pytest.approx(within.mean() / 2, rel=0.03)
    assert np.all(out.extrinsic[beyond] != 0) and out.fom[beyond].max() < 1e-9


def test_extrinsic_map_is_2mfo_dfc_without_experimental_phases():
    reflections = crystal("P 1", 2.0)
    truth, modified = correlated(reflections, 0.95)
    out = combine(observed(reflections, truth), modified)
    assert map_correlation(out.extrinsic, out.filled, reflections.multiplicity) > 0.99


def test_extrinsic_map_holds_nothing_of_the_errors_of_the_modified_map():
    reflections = crystal("P 1", 2.0)
    truth, modified = correlated(reflections, 0.5, fall_off=0.0)
    hl = np.zeros((len(reflections), 4))
    hl[:, 0], hl[:, 1] = 2 * np.cos(np.angle(truth)), 2 * np.sin(np.angle(truth))
    out = combine(observed(reflections, truth, hl), modified)
    scale = np.vdot(truth, out.f_calc) / np.vdot(truth, truth)
    error = out.f_calc - scale * truth
    best = to_complex(out.fom * np.abs(truth), out.phi)

    def share(coefficients):
        return np.vdot(error, coefficients).real / np.vdot(error, error).real
    assert abs(share(out.extrinsic)) < 0.03 < share(best) / 3


def test_phases_are_made_no_surer_than_others_of_the_same_data():
    reflections = crystal("P 21 21 21", 2.5)
    truth, modified = correlated(reflections, 0.8)
    data = observed(reflections, truth)
    sure, doubtful = combine(data, modified), combine(data, modified, Trust(agreement=0.6))
    found = no_surer_than(sure, doubtful, data)
    assert found.fom.mean() == pytest.approx(doubtful.fom.mean(), abs=0.002)
    assert found.fom.mean() < sure.fom.mean() - 0.1
    assert phase_difference(found.phi, sure.phi).max() < 1e-6 and found.filled is sure.filled
    assert no_surer_than(doubtful, sure, data) is doubtful


def test_amplitudes_that_copies_make_alike_are_no_agreement_of_phases():
    """Intensities that are alike at places turned by 180 degrees, as NCS makes them."""
    reflections = Reflections(gemmi.UnitCell(28, 25, 31, 90, 90, 90), gemmi.SpaceGroup("P 1"), 2.0)
    turn = np.diag([-1.0, -1.0, 1.0])
    strong = np.random.default_rng(0).uniform(0.3, 1.7, len(reflections))
    strong *= strong[reflections.turned(turn)[0]]
    truth, modified = correlated(reflections, 0.0)
    data = observed(reflections, truth * strong)
    plain, known = (combine(data, modified * strong, rotations=turns) for turns in ((), (turn,)))
    assert known.sigma_a.mean() < plain.sigma_a.mean() - 0.05  # 0.49 and 0.58
