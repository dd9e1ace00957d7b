"""Likelihood of Friedel mates given the anomalous scatterers, and its maximisation.

See :mod:`crank2_unet.sad.phasing` for the notation and the formulae.
"""

from __future__ import annotations

import gemmi
import numpy as np
from scipy.optimize import minimize
from scipy.special import i0e, i1e

from ..crystal.reflections import Reflections
from ..solvent.matthews import Composition
from .friedel import Observed, bin_means
from .restraints import Restraints
from .scatterer import Scatterer
from .wilson import wilson_scale

# 7.5 degree steps integrate distributions up to a concentration of about 100 without error.
_PHI = np.deg2rad(np.arange(0.0, 360.0, 7.5))
_BASIS = np.array([np.cos(_PHI), np.sin(_PHI), np.cos(2 * _PHI), np.sin(2 * _PHI)], np.float32)
_ITERATIONS = {False: 60, True: 12}  # of the minimiser, without and with sites

# Each parameter: the unit in which a step of 1 matters about equally, lower and upper limit.
_LIMITS = {
    "log_scale": (0.3, -40.0, 40.0), "b": (10.0, -60.0, 150.0),
    "log_sigma": (0.2, -1.5, 1.5), "log_v": (0.4, -40.0, 40.0),
    "occupancy": (0.1, 0.0, 10.0), "b_iso": (10.0, 1.0, 300.0), "xyz": (0.1, -9.0, 9.0)}
_REACH = 6.0  # units a parameter may move in one fit: the minimiser's first steps can be wild
_OF_SITES = ("occupancy", "b_iso", "xyz")
Values = dict  # of str to np.ndarray: the parameters of a Model


def hl_terms(obs: Observed, h: np.ndarray, h2: np.ndarray, t: np.ndarray, w: np.ndarray,
             prior: np.ndarray | None = None):
    """A + iB and C + iD of each reflection; t = variance of F - H, w = 1/V (0: no difference).

    ``prior``, (rows, 4) Hendrickson-Lattman coefficients, takes the place of what F and H tell.
    """
    ab, cd = 2j * w * obs.dano * h2, w * h2 ** 2
    if prior is None:
        return ab + (2 - obs.centric) * obs.f / t * h, cd
    return ab + prior[:, 0] + 1j * prior[:, 1], cd + prior[:, 2] + 1j * prior[:, 3]


def _integrate(ab: np.ndarray, cd: np.ndarray):
    """log of the mean over phi of exp(A cos phi + ...); means of exp(i phi) and exp(2i phi)."""
    # single precision: several times faster, and good to 1e-6 of a log-likelihood of about 1
    log_p = np.stack([ab.real, ab.imag, cd.real, cd.imag], axis=1).astype(np.float32) @ _BASIS
    top = log_p.max(axis=1)
    p = np.exp(log_p - top[:, None])
    moments = (p @ _BASIS.T) / p.sum(axis=1)[:, None]
    return (top + np.log(p.mean(axis=1)), moments[:, 0] + 1j * moments[:, 1],
            moments[:, 2] + 1j * moments[:, 3])


def likelihood(obs: Observed, h: np.ndarray, h2: np.ndarray, t: np.ndarray, v: np.ndarray,
               prior: np.ndarray | None = None):
    """Log-likelihood of DANO given F, the phase integrated out, and its derivatives.

    F is large where H is, but what F alone says of the sites is not used: anisotropy and
    pseudosymmetry would be taken for it.

    Parameters
    ----------
    obs : acentric reflections with both mates only.
    h, h2 : (rows,) complex, H and H" on the scale of the data.
    t, v : (rows,) variances of F - H and of DANO.
    prior : see :func:`hl_terms`; then H does not matter.

    Returns
    -------
    total, and derivatives by h, h2 (complex: d/dRe + i d/dIm) and v, each (rows,).
    """
    log_z, e1, e2 = _integrate(*hl_terms(obs, h, h2, t, 1 / v, prior))
    misfit = obs.dano ** 2 / 2 + np.abs(h2) ** 2
    total = np.sum(log_z - misfit / v - np.log(v) / 2)
    by_h = np.zeros_like(h)
    if prior is None:
        size = np.maximum(np.abs(h), 1e-30)
        x = 2 * obs.f / t * size
        i0 = i0e(x)
        total -= np.sum(np.log(i0) + x)
        by_h = 2 * obs.f / t * (e1 - i1e(x) / i0 * h / size)
    by_h2 = 2 / v * (-1j * obs.dano * e1 + np.conj(h2) * e2 - h2)
    by_w = (np.conj(2j * obs.dano * h2) * e1 + np.conj(h2 ** 2) * e2).real - misfit
    return total, by_h, by_h2, -by_w / v ** 2 - 0.5 / v


class Model:
    """Scales, errors and sites, their likelihood given the data, and its maximisation.

    Parameters of the fit are a dict of arrays: ``log_scale`` and ``b`` (of the sites against the
    data), ``log_sigma`` (factor of the uncertainties of DANO), ``log_v`` (one a bin: log variance of
    DANO beyond measurement, per unit epsilon) and, one a site, ``occupancy``, ``b_iso``, ``xyz``
    (fractional).  Three more are not fitted: ``reference`` (positions that the sites are held to),
    ``log_ratio`` (f'' against its given value), which is what the restraints make of scale and
    occupancies, and ``s`` (one a bin: variance of F - H per unit epsilon), the mean of F^2 less that
    of |H|^2.

    Parameters
    ----------
    observed, reflections, scatterer : of the data; the list is that which ``observed.place`` counts.
    prior : (rows, 4) Hendrickson-Lattman coefficients of phases known otherwise, which then stand in
        for what F and H tell.
    """

    def __init__(self, observed: Observed, reflections: Reflections, scatterer: Scatterer,
                 prior: np.ndarray | None = None, composition: Composition | None = None):
        self.obs, self.reflections, self.prior = observed, reflections, prior
        self.cell, self.spacegroup = cell, spacegroup = reflections.cell, reflections.spacegroup
        self.f_double_prime = scatterer.f_double_prime
        axes = np.array(cell.parameters[:3])
        self.restraints = Restraints(
            wilson_scale(observed, cell, spacegroup, composition), scatterer, axes)
        self.form_factor = scatterer.with_surroundings(observed.inverse_d_squared)
        self.operations = [(np.array(op.rot) / op.DEN, np.array(op.tran) / op.DEN)
                           for op in spacegroup.operations().sym_ops]
        # projects a shift on the directions along which the origin is free
        self.polar = np.mean([rotation for rotation, _ in self.operations], axis=0)
        self.quarter = observed.inverse_d_squared / 4
        self.units: dict[str, float | np.ndarray] = {
            name: unit for name, (unit, _, _) in _LIMITS.items()}
        self.units["xyz"] = 0.1 / axes  # 0.1 Angstrom

    def start(self, sites: gemmi.Structure) -> Values:
        """Parameters before any fit: sites as given, scaled to explain half the signal."""
        atoms = [site.atom for site in sites[0].all()]
        largest = max(atom.occ for atom in atoms)
        b_iso = np.array([atom.b_iso for atom in atoms])
        values = {"occupancy": np.array([atom.occ / largest for atom in atoms]),
                  "b_iso": np.clip(b_iso - b_iso.mean() + self.restraints.scale.b, 1.0, 300.0),
                  "xyz": _positions(sites), "reference": _positions(sites),
                  "given": np.arange(len(atoms))}
        obs = self.obs
        h2 = self.f_double_prime * np.abs(self.partials(values) @ values["occupancy"])
        square, noise, expected = (bin_means(x ** 2 / obs.epsilon, obs.bins)
                                   for x in (obs.dano, obs.sig_dano, np.sqrt(2) * h2))
        signal = np.maximum(square - noise, square / 10) / 2
        return self.restraints.with_ratio({
            "log_scale": np.log([signal.mean() / expected.mean()]) / 2, "b": np.zeros(1),
            "log_ratio": np.zeros(1), "log_sigma": np.zeros(1), "log_v": np.log(signal),
            "s": bin_means(obs.f ** 2 / obs.epsilon, obs.bins), **values})

    def _waves(self, xyz: np.ndarray):
        """hR, (rows, 3), and exp(2 pi i h(Rx + t)), (rows, sites), of each symmetry operation."""
        for rotation, shift in self.operations:
            hr = self.obs.hkl @ rotation
            cycles = hr @ xyz.T + (self.obs.hkl @ shift)[:, None]
            angle = (2 * np.pi * (cycles - np.rint(cycles))).astype(np.float32)
            wave = np.empty(angle.shape, np.complex64)
            wave.real, wave.imag = np.cos(angle), np.sin(angle)
            yield hr, wave

    def partials(self, values: Values) -> np.ndarray:
        """Sum over symmetry of exp(2 pi i hx) exp(-B/4d^2) of each site, (rows, sites)."""
        return (sum(wave for _, wave in self._waves(values["xyz"]))
                * np.exp(-self.quarter[:, None] * values["b_iso"]))

    def factors(self, values: Values) -> tuple[np.ndarray, np.ndarray]:
        """What makes H and H" of the sum over the sites: scale times f0 + f' or f''."""
        envelope = np.exp(values["log_scale"] - values["b"] * self.quarter)
        return (envelope * self.form_factor * np.exp(-values["log_ratio"]),
                envelope * self.f_double_prime)

    def variances(self, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Variance of F - H, and of DANO from measurement and from the model, each (rows,)."""
        obs = self.obs
        return (obs.epsilon * values["s"][obs.bins] + (2 - obs.centric) * obs.sigf ** 2,
                obs.sig_dano ** 2 * np.exp(2 * values["log_sigma"]),
                obs.epsilon * np.exp(values["log_v"])[obs.bins])

    def _with_variance_of_f(self, values: Values) -> Values:
        """The parameters with ``s`` following from F and H; at least half of the mean F^2."""
        obs = self.obs
        h = self.factors(values)[0] * (self.partials(values) @ values["occupancy"])
        f2, h2 = (bin_means(np.abs(x) ** 2 / obs.epsilon, obs.bins) for x in (obs.f, h))
        return {**values, "s": np.maximum(f2 - h2, f2 / 2)}

    def log_likelihood(self, values: Values, partials: np.ndarray,
                       ) -> tuple[float, Values, np.ndarray]:
        """Log-likelihood, its gradient but for ``b_iso`` and ``xyz``, and the derivative by the
        sum over the sites, (rows,), from which those two follow."""
        base = partials @ values["occupancy"]
        to_h, to_h2 = self.factors(values)
        t, measured, extra = self.variances(values)
        total, by_h, by_h2, by_v = likelihood(self.obs, to_h * base, to_h2 * base, t,
                                              measured + extra, self.prior)
        by_base = to_h * by_h + to_h2 * by_h2
        along = (np.conj(base) * by_base).real
        gradient = {
            "log_scale": along.sum(keepdims=True), "b": -(along @ self.quarter)[None],
            "log_sigma": 2 * (by_v @ measured)[None],
            "log_v": np.bincount(self.obs.bins, by_v * extra),
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
        values = self._with_variance_of_f(values)
        free = [name for name in _LIMITS
                if (name not in ("log_scale", "b") if sites_too else name not in _OF_SITES)]
        sizes = [values[name].size for name in free]
        unit = np.concatenate([np.broadcast_to(self.units[name], values[name].shape).ravel()
                               for name in free])
        fixed = self.partials(values)

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
            penalty = self.restraints.penalty(now, gradient)
            return penalty - total, -np.concatenate([gradient[n].ravel() for n in free]) * unit

        first = np.concatenate([values[name].ravel() for name in free]) / unit
        low, high = np.repeat([_LIMITS[name][1:] for name in free], sizes, axis=0).T / unit
        limits = np.stack([np.maximum(low, first - _REACH), np.minimum(high, first + _REACH)], 1)
        found = minimize(target, first, jac=True, method="L-BFGS-B", bounds=limits,
                         options={"maxiter": _ITERATIONS[sites_too], "ftol": 1e-7})
        after = unpack(found.x)
        after = self._without_drift(values, after) if sites_too else _with_b_in_sites(after)
        return self.restraints.with_ratio(after)

    def _without_drift(self, before: Values, after: Values) -> Values:
        """The sites as a whole put back along polar axes, which the data cannot fix."""
        if not after["occupancy"].any():
            return before
        drift = np.average(after["xyz"] - before["xyz"], axis=0, weights=after["occupancy"])
        return {**after, "xyz": after["xyz"] - self.polar @ drift}


def _positions(sites: gemmi.Structure) -> np.ndarray:
    """Fractional coordinates, (sites, 3)."""
    return np.array([sites.cell.fractionalize(site.atom.pos).tolist() for site in sites[0].all()])


def _with_b_in_sites(values: Values) -> Values:
    """The overall B moved to the sites."""
    b_iso = np.clip(values["b_iso"] + values["b"], *_LIMITS["b_iso"][1:])
    return {**values, "b_iso": b_iso, "b": np.zeros(1)}

