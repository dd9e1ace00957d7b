"""Weighting of a modified map against the experiment, phase combination, new map coefficients.

Each cycle of density modification yields structure factors Fc.  Their normalised values Ec predict
those of the crystal with a correlation sigma-A (Read, 1986, Acta Cryst. A42, 140-149), a smooth
function of resolution found by maximum likelihood from the amplitudes alone.  Amplitudes that the
modified map knows agree better with it than its phases deserve; how much is learnt from amplitudes
that were held back, like a free R value (Brünger, 1992, Nature 355, 472-475).  Putting the
experimental phase probabilities inside the likelihood (MLHL: Pannu et al., 1998, Acta Cryst. D54,
1285-1294; for density modification: Cowtan, 2010, Acta Cryst. D66, 470-478) was tried: it gives
poorer phases on real data, because overconfident experimental phases then speak against Fc.  Instead
Fc tells how far they can be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq, minimize
from scipy.special import i0e

from ..crystal.observations import PhasedData
from ..crystal.phases import log_integral, phi_fom_from_hl, to_complex
from ..crystal.reflections import NEIGHBOURS, Reflections
from ..crystal.shells import Shells

# The likelihood is tabulated at these values and interpolated: its maximum is found wherever it
# lies, which a search from a starting value does not grant where sigma-A is small.
# It starts at 0.1, below which it cannot be told from 0: with 0 the map would never move again.
_SIGMA_A = np.append(np.linspace(0.1, 0.9, 16), [0.93, 0.95, 0.97, 0.98])
# expected bend of sigma-A, as second difference from shell to shell; holds the curve together
_BEND = 0.05
_TRUST = np.linspace(0.1, 1.0, 46)  # shares of sigma-A that are tried
# log of shares of experimental Hendrickson-Lattman coefficients: tried, and interpolated between
_LOG_PHASE_TRUST, _LOG_FINE = (np.linspace(np.log(0.1), 0, count) for count in (13, 1201))
# log-likelihood of a reflection that outweighs a share of 1/e, where the mean figure of merit by the
# map alone is far above _POOR; more below
_PRIOR, _POOR = 0.015, 0.2
_ENOUGH = 2500  # reflections to find it by
_NEARBY = 0.7  # width, in steps of h, k, l, of the Gaussian that weighs neighbours
_STRONG = 6.0  # normalised intensity; what is beyond tells as much
_RIDGE = 100.0  # reflections with one neighbour that speak for no correlation of intensities
_LEAST_EXPECTED = 0.1  # intensity that neighbours can let expect
_LEAST_SCALE = 0.01  # of Hendrickson-Lattman coefficients that are too sure
_EXPECTED_WEIGHT = 6.0  # of the expected intensity of what is filled in; 2 to 6 are as good
# of sigma-A at the limit of the data, for reflections beyond; .5 and .7 are better than 1, and as good
# as a curve that falls on
_BEYOND = 0.5


@dataclass(frozen=True)
class Trust:
    """What is believed, each 0..1.

    Parameters
    ----------
    agreement : share of the sigma-A of agreeing amplitudes.
    phases : share of the experimental Hendrickson-Lattman coefficients.
    """

    agreement: float = 1.0
    phases: float = 1.0


@dataclass(frozen=True)
class Weighted:
    """Modified structure factors combined with experimental phases; n reflections.

    Parameters
    ----------
    hl : (n, 4) Hendrickson-Lattman coefficients of the combined phase probability.
    phi, fom : (n,) its best phase, degrees, and figure of merit.
    f_calc : (n,) complex, Fc on the scale of the observed amplitudes.
    sigma_a : (n,) correlation of Ec with the normalised structure factors of the crystal.
    filled : (n,) complex 2mFo-DFc (centric: mFo), DFc, anchored as in :func:`combine`, where not
        measured: the map to look at.
    extrinsic : (n,) complex, the map to modify next, see :func:`combine`.
    trust : what ``sigma_a`` and ``hl`` go by.
    correlation, free_correlation : of normalised observed and modified amplitudes, of those that the
        modified map knows and of those held back; None without these.
    """

    hl: np.ndarray
    phi: np.ndarray
    fom: np.ndarray
    f_calc: np.ndarray
    sigma_a: np.ndarray
    filled: np.ndarray
    extrinsic: np.ndarray
    trust: Trust
    correlation: float
    free_correlation: float | None

    def take(self, places: np.ndarray) -> Weighted:
        """That of some of the reflections."""
        return replace(self, **{name: getattr(self, name)[places] for name in (
            "hl", "phi", "fom", "f_calc", "sigma_a", "filled", "extrinsic")})


@dataclass(frozen=True)
class _Pair:
    """Normalised observed and modified structure factors of n reflections."""

    e_obs: np.ndarray
    e_calc: np.ndarray
    noise: np.ndarray       # variance that measurement adds to that of e_obs given e_calc
    direction: np.ndarray   # exp(i phi_c)
    centric: np.ndarray

    def take(self, chosen: np.ndarray) -> _Pair:
        return _Pair(self.e_obs[chosen], self.e_calc[chosen], self.noise[chosen],
                     self.direction[chosen], self.centric[chosen])

    @property
    def correlation(self) -> float:
        """Of observed and modified amplitudes."""
        one, two = (e - e.mean() for e in (self.e_obs, self.e_calc))
        return float(one @ two / max(np.linalg.norm(one) * np.linalg.norm(two), 1e-30))

    def variance(self, sigma_a: np.ndarray | float) -> np.ndarray:
        return 1.0 - sigma_a**2 + self.noise

    def concentration(self, sigma_a: np.ndarray | float) -> np.ndarray:
        """X of the phase probability exp(X cos(phi - phi_c)) (Sim, 1959; centric: Woolfson)."""
        x = sigma_a * self.e_obs * self.e_calc / self.variance(sigma_a)
        return np.where(self.centric, x, 2 * x)


def combine(data: PhasedData, modified: np.ndarray, trust: Trust = Trust(),
            held_back: np.ndarray | None = None, rotations: Sequence[np.ndarray] = (),
            ) -> Weighted:
    """Combine the phases of a modified map with the experimental ones.

    Parameters
    ----------
    data : experimental amplitudes and phase probabilities.
    modified : (n,) complex structure factors of the modified map, on any scale.
    trust : what is believed of the agreement of amplitudes and of the experimental phases.
    held_back : (n,) bool, measured reflections that the modified map does not know, nor is the next
        one to know them.  Then ``trust`` is not used but found.
    rotations : (3, 3) of NCS, which make amplitudes alike.

    Notes
    -----
    The next map must not return to the modification what the modification itself has put in, or
    errors confirm themselves and figures of merit rise without cause.  With F = m|Fo|exp(i phi),
    the mean of the combined distribution, and eta the mean derivative of F by DFc, the part of F
    that is independent of DFc is (F - eta DFc)/(1 - eta) (the extrinsic message of approximate message
    passing: Rangan, Schniter & Fletcher, 2019, IEEE Trans. Inf. Theory 65, 6664-6684).  eta is the
    ratio of the variances of the structure factor after and before the observation is used.  The
    coefficients here have this part with the weight of a Wiener filter for its error.  Without
    experimental phases and for good Fc eta is 1/2, which gives 2mFo-DFc (Main, 1979, Acta Cryst.
    A35, 779-785); for centric reflections it tends to 0, which gives mFo.

    Reflections without an amplitude are filled in with DFc.  No amplitude holds Fc there, but its
    intensity is known on average, as that of the measured reflections of this resolution (Wilson).
    So Ec^2 of what is filled in has a mean that is 1 before it is looked at; DFc is put on the scale
    on which the mean of the neighbours that are filled in, too, is what was expected.  Beyond the
    resolution of the data sigma-A is a share of what it is at their limit.
    """
    r, measured = data.reflections, np.isfinite(data.f)
    held_back = np.zeros(len(r), bool) if held_back is None else held_back
    used, found = measured & ~held_back, bool(held_back.any())
    shells = Shells(r, used)
    root_epsilon = np.sqrt(r.epsilon)
    scale = shells.rms(np.nan_to_num(data.f) / root_epsilon) * root_epsilon
    f_calc = modified * scale / (shells.rms(np.abs(modified) / root_epsilon) * root_epsilon)
    # an amplitude's error acts along the structure factor only: twice as a variance in the plane
    noise = np.nan_to_num(data.sigf / scale) ** 2 * np.where(r.centric, 1.0, 2.0)
    pair = _Pair(np.nan_to_num(data.f / scale), np.abs(f_calc / scale), noise,
                 np.exp(1j * np.angle(modified)), r.centric)

    alike = [r.turned(rotation) for rotation in rotations]
    even = replace(pair, e_obs=_evened(pair.e_obs, r, measured, alike),
                   e_calc=_evened(pair.e_calc, r, measured, alike))
    sigma_a = _fit_sigma_a(shells, _log_likelihoods(even.take(used), _SIGMA_A))
    agreement = (_trust_in_agreement(even.take(held_back), sigma_a[held_back]) if found
                 else trust.agreement)
    sigma_a = agreement * np.where(_beyond(r, measured), _BEYOND, 1) * sigma_a
    t = pair.concentration(sigma_a) * pair.direction
    by_map = np.stack([t.real, t.imag, np.zeros(len(r)), np.zeros(len(r))], axis=1)
    trust = Trust(agreement, _trust_in_phases(data.hl[used & ~r.centric], by_map[used & ~r.centric])
                  if found else trust.phases)
    hl = trust.phases * data.hl + by_map
    phi, fom = phi_fom_from_hl(hl, r.allowed_phase)

    best = to_complex(fom * np.nan_to_num(data.f), phi)
    expected = sigma_a * f_calc
    anchored = expected / _excess(pair.e_calc, r, ~used)
    eta = pair.e_obs**2 * (1 - fom**2) / pair.variance(sigma_a)
    eta = np.where(r.centric, shells.mean(eta, r.centric), shells.mean(eta, ~r.centric)).clip(0, 1)
    extrinsic = (best - eta * expected) / (1 - eta * sigma_a**2)
    return Weighted(hl, phi, fom, f_calc, sigma_a,
                    filled=np.where(measured, np.where(r.centric, best, 2 * best - expected),
                                    anchored),
                    extrinsic=np.where(used, extrinsic, anchored), trust=trust,
                    correlation=even.take(used).correlation,
                    free_correlation=even.take(held_back).correlation if found else None)


def _beyond(reflections: Reflections, measured: np.ndarray) -> np.ndarray:
    """Whether each reflection is beyond the resolution of those measured, (n,) bool."""
    place = reflections.inverse_d_squared
    return place > place[measured].max()


def no_surer_than(weighted: Weighted, other: Weighted, data: PhasedData) -> Weighted:
    """With Hendrickson-Lattman coefficients scaled down to the mean figure of merit of another
    combination of the same data, if that is lower; maps stay as they are."""
    measured, allowed = np.isfinite(data.f), data.reflections.allowed_phase

    def too_sure(scale: float) -> float:
        _, fom = phi_fom_from_hl(scale * weighted.hl, allowed)
        return float(np.mean(fom[measured]) - np.mean(other.fom[measured]))
    if too_sure(1.0) <= 0 or too_sure(_LEAST_SCALE) >= 0:
        return weighted
    hl = brentq(too_sure, _LEAST_SCALE, 1.0, xtol=1e-3) * weighted.hl
    phi, fom = phi_fom_from_hl(hl, allowed)
    return replace(weighted, hl=hl, phi=phi, fom=fom)


def _evened(e: np.ndarray, reflections: Reflections, measured: np.ndarray,
            alike: Sequence[np.ndarray]) -> np.ndarray:
    """Normalised amplitudes (n,) over those that other reflections let expect.

    Much solvent and translational NCS correlate the intensities of neighbours, the latter with a
    sign that changes from step to step (Read, Adams & McCoy, 2013, Acta Cryst. D69, 176-183), and
    rotational NCS those at places turned into one another (Rossmann & Blow, 1962, Acta Cryst. 15,
    24-31), ``alike``.  A modified map shows these strong and weak regions even where its phases are
    wrong, and sigma-A would take this for an agreement of phases.  How much each tells is found by
    linear regression.
    """
    excess = np.minimum(e**2, _STRONG) - 1

    def seen(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        present = (places >= 0) & measured[places]
        return present, present * excess[places]
    near = seen(reflections.neighbours)[1]
    # NEIGHBOURS is symmetric: steps to and fro tell the same
    rows = [*(near[:len(near) // 2] + near[:len(near) // 2 - 1:-1])]
    for present, values in map(seen, alike):
        rows.append(values.sum(axis=0) / np.maximum(present.sum(axis=0), 1))
    there = np.array(rows)
    known = there[:, measured]
    tells = np.linalg.solve(known @ known.T + _RIDGE * np.eye(len(known)),
                            known @ (excess[measured] - excess[measured].mean()))
    return e / np.sqrt(np.maximum(1 + tells @ there, _LEAST_EXPECTED))


def _excess(e: np.ndarray, reflections: Reflections, filled_in: np.ndarray) -> np.ndarray:
    """Root mean square, (n,), of normalised amplitudes that are filled in, round each of them; with
    the weight of what is expected it is the posterior mean."""
    total, weight = _over_neighbours(e**2, reflections, filled_in)
    return np.sqrt((total + e**2 + _EXPECTED_WEIGHT) / (weight + 1 + _EXPECTED_WEIGHT))


def _over_neighbours(values: np.ndarray, reflections: Reflections, chosen: np.ndarray,
                     ) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of values and of ones, (n,), over those neighbours that are ``chosen``."""
    nearby = reflections.neighbours
    present = (nearby >= 0) & chosen[nearby]
    weight = np.exp(-(NEIGHBOURS**2).sum(axis=1) / (2 * _NEARBY**2))
    return weight @ (present * values[nearby]), weight @ present


def _fit_sigma_a(shells: Shells, log_likelihood: np.ndarray) -> np.ndarray:
    """Smooth sigma-A of all reflections from its tabulated log-likelihood for measured ones."""
    in_shells = np.stack([shells.total(row) for row in log_likelihood])
    curve = CubicSpline(_SIGMA_A, in_shells)
    slope = curve.derivative()
    every = np.arange(shells.count)
    bending = np.diff(np.eye(shells.count), 2, axis=0) / _BEND

    def cost(sigma_a: np.ndarray) -> tuple[float, np.ndarray]:
        bend = bending @ sigma_a
        return (bend @ bend / 2 - curve(sigma_a)[every, every].sum(),
                bending.T @ bend - slope(sigma_a)[every, every])

    start = _SIGMA_A[in_shells.argmax(axis=0)]
    found = minimize(cost, start, jac=True, method="L-BFGS-B",
                     bounds=[(_SIGMA_A[0], _SIGMA_A[-1])] * shells.count)
    return shells.interpolate(found.x)


def _trust_in_agreement(pair: _Pair, sigma_a: np.ndarray) -> float:
    """Mean share of sigma-A, (n,), by what amplitudes that were held back say; all shares are as
    probable before."""
    log_likelihood = _log_likelihoods(pair, np.outer(_TRUST, sigma_a)).sum(axis=1)
    return float(np.average(_TRUST, weights=np.exp(log_likelihood - log_likelihood.max())))


def _trust_in_phases(experiment: np.ndarray, by_map: np.ndarray) -> float:
    """Factor, at most 1, of experimental Hendrickson-Lattman coefficients, (n, 4), that goes best with
    those of a modified map.

    The likelihood of a factor K is the mean of the phase probability by the map over that by the
    experiment, exp(K hl).  Poor maps speak against the experiment whatever it is worth, all reflections
    alike, since more than their own part is taken out of them where atoms stand out.  So the prior, by
    which K is 1 give or take a factor, counts with every reflection, and the more the less the map
    knows.
    """
    some = slice(None, None, max(1, len(experiment) // _ENOUGH))
    experiment, by_map = experiment[some], by_map[some]
    _, fom = phi_fom_from_hl(by_map, np.full(len(by_map), np.nan))
    prior = _PRIOR * (1 + (_POOR / fom.mean())**2)
    support = [np.mean(log_integral(k * experiment + by_map) - log_integral(k * experiment))
               for k in np.exp(_LOG_PHASE_TRUST)]
    gain = CubicSpline(_LOG_PHASE_TRUST, support)(_LOG_FINE) - prior * _LOG_FINE**2
    return float(np.exp(_LOG_FINE[np.argmax(gain)]))


def _log_likelihoods(pair: _Pair, sigma_a: np.ndarray) -> np.ndarray:
    """log P(e_obs; e_calc), (m, n), up to a constant, for m values, or m rows (n,), of sigma-A."""
    degrees = np.where(pair.centric, 0.5, 1.0)
    rows = []
    for value in sigma_a:
        variance, x = pair.variance(value), pair.concentration(value)
        misfit = (pair.e_obs**2 + value**2 * pair.e_calc**2) / variance
        # log cosh x and log I0(x) less x, which does not overflow
        overlap = np.log(i0e(x))
        overlap[pair.centric] = np.log1p(np.exp(-2 * x[pair.centric]))
        rows.append(x + overlap - degrees * (np.log(variance) + misfit))
    return np.stack(rows)
