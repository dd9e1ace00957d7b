"""Likelihood of Friedel mates given the anomalous scatterers, and its maximisation.

See :mod:`crank2_unet.sad` for the notation and the formulae.
"""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
from scipy.optimize import minimize

from .data import AnomalousData
from .errors import InputError

# 7.5 degree steps integrate distributions up to a concentration of about 100 without error.
_PHI = np.deg2rad(np.arange(0.0, 360.0, 7.5))
_BASIS = np.stack([np.cos(_PHI), np.sin(_PHI), np.cos(2 * _PHI), np.sin(2 * _PHI)])
_PER_BIN = 600  # reflections: enough to fix a variance to 6 %
_OUTLIER = 6.0  # rms of DANO in the bin; a Gaussian never gets there
_ITERATIONS = {False: 60, True: 12}  # of the minimiser, without and with sites

# Each parameter: the unit in which a step of 1 matters about equally, lower and upper limit.
_LIMITS = {
    "log_scale": (0.3, -40.0, 40.0), "b": (10.0, -60.0, 150.0), "log_ratio": (0.2, -1.5, 1.5),
    "log_sigma": (0.2, -1.5, 1.5), "log_s": (0.2, -40.0, 40.0), "log_v": (0.4, -40.0, 40.0),
    "occupancy": (0.1, 0.0, 10.0), "b_iso": (10.0, 1.0, 300.0), "xyz": (0.1, -9.0, 9.0)}
_OF_SITES = ("occupancy", "b_iso", "xyz")
# Gaussian restraints (width) on what weak data leave undetermined: f'' within a factor 1.5 of its
# tabulated value, uncertainties of DANO within 1.2, and the B factors of sites alike.
_WIDTH_RATIO, _WIDTH_SIGMA, _WIDTH_B = 0.4, 0.2, 15.0

Values = dict  # of str to np.ndarray: the parameters of a Model


@dataclass(frozen=True)
class Observed:
    """The measured reflections, as rows, with what the likelihood needs of them."""

    measured: np.ndarray  # (n of the complete list,) bool: which reflections the rows are
    hkl: np.ndarray
    inverse_d_squared: np.ndarray
    epsilon: np.ndarray
    centric: np.ndarray
    bins: np.ndarray
    f: np.ndarray
    sigf: np.ndarray
    dano: np.ndarray  # 0 where there is no usable difference
    sig_dano: np.ndarray
    paired: np.ndarray  # bool: there is a usable difference
    n_outliers: int

    @classmethod
    def of(cls, data: AnomalousData) -> Observed:
        """Mean amplitudes and differences, without differences too large to be true.

        Read (1999), Acta Cryst. D55, 1759-1764: an observation too improbable under the expected
        distribution is more likely an error of measurement.
        """
        r = data.reflections
        f, sigf = mean_amplitude(data)
        measured = (f > 0) & (sigf > 0)
        dano, sig_dano = data.f_plus - data.f_minus, np.hypot(data.sigf_plus, data.sigf_minus)
        paired = measured & np.isfinite(dano) & (sig_dano > 0) & ~r.centric
        if paired.sum() < 100:
            raise InputError(f"Only {paired.sum()} acentric reflections have both Friedel mates: "
                             "SAD phasing needs F(+) and F(-) of some hundred at least.")
        bins = r.in_bins(int(np.clip(paired.sum() // _PER_BIN, 1, 20)), paired)
        mean_square = bin_means(dano[paired] ** 2 / r.epsilon[paired], bins[paired])
        outlier = paired & (dano ** 2 > _OUTLIER ** 2 * mean_square[bins] * r.epsilon)
        paired &= ~outlier
        rows = [r.hkl, r.inverse_d_squared, r.epsilon, r.centric, bins, f, sigf,
                np.where(paired, dano, 0.0), np.where(paired, sig_dano, 1.0), paired]
        return cls(measured, *(row[measured] for row in rows), int(outlier.sum()))


def mean_amplitude(data: AnomalousData) -> tuple[np.ndarray, np.ndarray]:
    """Mean amplitude of the mates and its uncertainty, (n,); of one mate where the other is absent."""
    mates = np.stack([data.f_plus, data.f_minus])
    variances = np.stack([data.sigf_plus, data.sigf_minus]) ** 2
    here = np.isfinite(mates) & np.isfinite(variances)
    count = np.where(here.any(axis=0), here.sum(axis=0), np.nan)
    return (np.where(here, mates, 0.0).sum(axis=0) / count,
            np.sqrt(np.where(here, variances, 0.0).sum(axis=0)) / count)


def bin_means(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Mean of the values in each bin, (number of bins,)."""
    return np.bincount(bins, values) / np.maximum(np.bincount(bins), 1)


def hl_terms(obs: Observed, h: np.ndarray, h2: np.ndarray, t: np.ndarray, w: np.ndarray):
    """A + iB and C + iD of each reflection; t = variance of F - H, w = 1/V (0: no difference)."""
    sides = np.where(obs.centric, 1.0, 2.0)
    return sides * obs.f / t * h + 2j * w * obs.dano * h2, w * h2 ** 2


def _integrate(ab: np.ndarray, cd: np.ndarray, centric: np.ndarray):
    """log of the mean over phi of exp(A cos phi + ...); means of exp(i phi) and exp(2i phi)."""
    log_p = np.stack([ab.real, ab.imag, cd.real, cd.imag], axis=1) @ _BASIS
    top = log_p.max(axis=1)
    p = np.exp(log_p - top[:, None])
    moments = (p @ _BASIS.T) / p.sum(axis=1)[:, None]
    log_z, e1, e2 = (top + np.log(p.mean(axis=1)), moments[:, 0] + 1j * moments[:, 1],
                     moments[:, 2] + 1j * moments[:, 3])
    x = np.abs(ab[centric])
    log_z[centric] = np.logaddexp(x, -x)
    e1[centric] = np.tanh(x) * ab[centric] / np.maximum(x, 1e-30)
    return log_z, e1, e2


def variance_of_f(obs: Observed, s: np.ndarray) -> np.ndarray:
    """Variance of F - H: ``s`` per unit epsilon of the unknown part, and of the measurement."""
    return obs.epsilon * s + np.where(obs.centric, 1.0, 2.0) * obs.sigf ** 2


def likelihood(obs: Observed, h: np.ndarray, h2: np.ndarray, s: np.ndarray, v: np.ndarray):
    """Log-likelihood of F and DANO, the phase integrated out, and its derivatives.

    Parameters
    ----------
    h, h2 : (rows,) complex, H and H" on the scale of the data.
    s, v : (rows,) variance of F - H per unit epsilon, and variance V of DANO.

    Returns
    -------
    total, and derivatives by h, h2 (complex: d/dRe + i d/dIm), s and v, each (rows,).
    """
    c = np.where(obs.centric, 0.5, 1.0)
    t, w = variance_of_f(obs, s), np.where(obs.paired, 1.0 / v, 0.0)
    log_z, e1, e2 = _integrate(*hl_terms(obs, h, h2, t, w), obs.centric)
    square = obs.f ** 2 + np.abs(h) ** 2
    misfit = obs.dano ** 2 / 2 + np.abs(h2) ** 2
    total = np.sum(log_z - c * (np.log(t) + square / t) - w * misfit)
    total -= np.log(v[obs.paired]).sum() / 2
    by_h = 2 * c / t * (obs.f * e1 - h)
    by_h2 = 2 * w * (-1j * obs.dano * e1 + np.conj(h2) * e2 - h2)
    by_t = c * (square / t - 1) / t - 2 * c * obs.f / t ** 2 * (np.conj(h) * e1).real
    by_w = (np.conj(2j * obs.dano * h2) * e1 + np.conj(h2 ** 2) * e2).real - misfit
    return total, by_h, by_h2, by_t * obs.epsilon, -w ** 2 * by_w - w / 2


class Model:
    """Scales, errors and sites, their likelihood given the data, and its maximisation.

    Parameters of the fit are a dict of arrays: ``log_scale`` and ``b`` (of the sites against the
    data), ``log_ratio`` (f'' against its given value), ``log_sigma`` (factor of the uncertainties
    of DANO), ``log_s`` and ``log_v`` (one a bin: log variance of F - H and of DANO beyond
    measurement, per unit epsilon) and, one a site, ``occupancy``, ``b_iso``, ``xyz`` (fractional).
    """

    def __init__(self, observed: Observed, sites: gemmi.Structure, spacegroup: gemmi.SpaceGroup,
                 form_factor: np.ndarray, f_double_prime: float):
        self.obs, self.f_double_prime, self.form_factor = observed, f_double_prime, form_factor
        self.operations = [(np.array(op.rot) / op.DEN, np.array(op.tran) / op.DEN)
                           for op in spacegroup.operations().sym_ops]
        self.quarter = observed.inverse_d_squared / 4
        self.units = {name: unit for name, (unit, _, _) in _LIMITS.items()}
        self.units["xyz"] = 0.1 / np.array(sites.cell.parameters[:3])  # 0.1 Angstrom

    def start(self, sites: gemmi.Structure) -> Values:
        """Parameters before any fit: sites as given, scaled to explain the signal seen."""
        atoms = [site.atom for site in sites[0].all()]
        occupancy = np.array([atom.occ for atom in atoms])
        values = {"occupancy": occupancy / occupancy.max(),
                  "b_iso": np.array([atom.b_iso for atom in atoms]),
                  "xyz": np.array([sites.cell.fractionalize(a.pos).tolist() for a in atoms])}
        obs, pair, n_bins = self.obs, self.obs.paired, self.obs.bins.max() + 1
        h2 = self.f_double_prime * np.abs(self.partials(values) @ values["occupancy"])
        square, noise, expected = (np.mean(x[pair] ** 2 / obs.epsilon[pair])
                                   for x in (obs.dano, obs.sig_dano, np.sqrt(2) * h2))
        signal = max(square - noise, square / 10) / expected
        zero = np.zeros(1)
        return {"log_scale": zero + np.log(signal) / 2, "b": zero, "log_ratio": zero,
                "log_sigma": zero, "log_s": np.log(bin_means(obs.f ** 2 / obs.epsilon, obs.bins)),
                "log_v": np.full(n_bins, np.log(square / 4)), **values}

    def _waves(self, xyz: np.ndarray):
        """For each symmetry operation: hR and exp(2 pi i h(Rx + t)), (rows, 3) and (rows, sites)."""
        for rotation, shift in self.operations:
            hr = self.obs.hkl @ rotation
            yield hr, np.exp(2j * np.pi * (hr @ xyz.T + (self.obs.hkl @ shift)[:, None]))

    def partials(self, values: Values) -> np.ndarray:
        """Sum over symmetry of exp(2 pi i hx) exp(-B/4d^2) of each site, (rows, sites)."""
        return (sum(wave for _, wave in self._waves(values["xyz"]))
                * np.exp(-self.quarter[:, None] * values["b_iso"]))

    def factors(self, values: Values) -> tuple[np.ndarray, np.ndarray]:
        """What makes H and H" of the sum over the sites: scale times f0 + f' or f''."""
        envelope = np.exp(values["log_scale"] - values["b"] * self.quarter)
        return (envelope * self.form_factor,
                envelope * self.f_double_prime * np.exp(values["log_ratio"]))

    def variances(self, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Variance of F - H per unit epsilon, and of DANO from measurement and from the model."""
        obs = self.obs
        return (np.exp(values["log_s"])[obs.bins],
                obs.sig_dano ** 2 * np.exp(2 * values["log_sigma"]),
                obs.epsilon * np.exp(values["log_v"])[obs.bins])

    def log_likelihood(self, values: Values, partials: np.ndarray) -> tuple[float, Values, np.ndarray]:
        """Log-likelihood, its gradient but for ``b_iso`` and ``xyz``, and the derivative by the
        sum over the sites, (rows,), from which those two follow."""
        base = partials @ values["occupancy"]
        to_h, to_h2 = self.factors(values)
        s, measured, extra = self.variances(values)
        total, by_h, by_h2, by_s, by_v = likelihood(self.obs, to_h * base, to_h2 * base, s,
                                                    measured + extra)
        by_base = to_h * by_h + to_h2 * by_h2
        along = (np.conj(base) * by_base).real
        n_bins = len(values["log_s"])
        gradient = {
            "log_scale": along.sum(keepdims=True), "b": -(along @ self.quarter)[None],
            "log_ratio": (np.conj(base) * to_h2 * by_h2).real.sum(keepdims=True),
            "log_sigma": 2 * (by_v @ measured)[None],
            "log_s": np.bincount(self.obs.bins, by_s * s, n_bins),
            "log_v": np.bincount(self.obs.bins, by_v * extra, n_bins),
            "occupancy": (np.conj(by_base) @ partials).real}
        return total, gradient, by_base

    def _site_gradient(self, values: Values, partials: np.ndarray, by_base: np.ndarray) -> Values:
        """Gradient by B and position."""
        pull = np.conj(by_base)
        fall = np.exp(-self.quarter[:, None] * values["b_iso"])
        by_xyz = np.zeros_like(values["xyz"])
        for hr, wave in self._waves(values["xyz"]):
            by_xyz -= 2 * np.pi * ((pull[:, None] * hr).T @ (wave * fall)).imag.T
        return {"b_iso": -values["occupancy"] * ((pull * self.quarter) @ partials).real,
                "xyz": values["occupancy"][:, None] * by_xyz}

    def fit(self, values: Values, sites_too: bool) -> Values:
        """Parameters of (nearly) maximal likelihood, from ``values`` on.

        Without ``sites_too`` the sites stay; with it, scale and B against the data stay, since
        occupancies and B factors of the sites do their work.
        """
        free = [name for name in values
                if (name not in ("log_scale", "b") if sites_too else name not in _OF_SITES)]
        sizes = [values[name].size for name in free]
        unit = np.concatenate([np.broadcast_to(self.units[name], values[name].shape).ravel()
                               for name in free])
        limits = np.repeat([_LIMITS[name][1:] for name in free], sizes, axis=0) / unit[:, None]
        fixed = None if sites_too else self.partials(values)

        def unpack(x: np.ndarray) -> Values:
            parts = np.split(x * unit, np.cumsum(sizes)[:-1])
            return {**values, **{name: part.reshape(values[name].shape)
                                 for name, part in zip(free, parts)}}

        def target(x: np.ndarray) -> tuple[float, np.ndarray]:
            now = unpack(x)
            partials = self.partials(now) if sites_too else fixed
            total, gradient, by_base = self.log_likelihood(now, partials)
            if sites_too:
                gradient.update(self._site_gradient(now, partials, by_base))
            penalty = _restrain(now, gradient)
            return penalty - total, -np.concatenate([gradient[n].ravel() for n in free]) * unit

        first = np.concatenate([values[name].ravel() for name in free]) / unit
        found = minimize(target, first, jac=True, method="L-BFGS-B", bounds=limits,
                         options={"maxiter": _ITERATIONS[sites_too]})
        return unpack(found.x)


def _restrain(values: Values, gradient: Values) -> float:
    """Penalty of the restraints; their pull is added to the gradient (of the log-likelihood)."""
    penalty = 0.0
    aims = [("log_ratio", 0.0, _WIDTH_RATIO), ("log_sigma", 0.0, _WIDTH_SIGMA),
            ("b_iso", values["b_iso"].mean(), _WIDTH_B)]
    for name, aim, width in aims:
        off = (values[name] - aim) / width
        penalty += off @ off / 2
        if name in gradient:
            gradient[name] = gradient[name] - off / width
    return float(penalty)
