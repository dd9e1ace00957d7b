"""Overall fall-off of amplitudes with resolution: found by maximum likelihood, removed before density
modification and put back after.

Sharp maps show atoms, and density modification knows more of atoms than of smooth density.
Anisotropic data, too, are weak along some directions; density modification, which judges
reflections by resolution alone, takes them for weak structure factors there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..crystal.maps import CrystalMap
from ..crystal.observations import PhasedData
from ..crystal.reflections import Reflections
from .protein_statistics import log_mean_intensity

# Angstrom: below, mean intensities tell of solvent and of the shape of molecules
LEAST_RESOLUTION = 5.5
# B of sharpened maps, Angstrom^2: low where atoms show, and then higher by _SOFTER for each Angstrom
# beyond _ATOMIC, where sharpness would only be ripple.  Tuned on 40 unseen simulated data sets
# and, at low resolution, on 4fsx and 5xfd cut at 2.8 Angstrom.
_SHARP, _ATOMIC, _SOFTER = 6.0, 2.3, 33.0
_B = 8 * np.pi**2  # B = 8 pi^2 U
# with less, six parameters of fall-off are not determined, and what is extrapolated would be noise
_COARSEST, _FEWEST = 4.5, 100  # Angstrom, and number of reflections
_STEPS = 8  # of Fisher scoring, which converges in 5
_EULER = 0.5772  # mean of -log of an intensity that is exponentially distributed with mean 1


def sharpened_b(d_min: float) -> float:
    """B of the maps that density modification works on, Angstrom^2."""
    return _SHARP + _SOFTER * max(0.0, d_min - _ATOMIC)


@dataclass(frozen=True, eq=False)
class Sharpening:
    """The fall-off of the amplitudes of a crystal, which is taken out of data and put back into maps.

    Parameters
    ----------
    reflections : complete list of n reflections.
    u : displacement U, (3, 3) in Angstrom^2, by which amplitudes fall off more than those of a
        protein of :func:`sharpened_b`: as exp(-2 pi^2 s.U.s), s in orthogonal coordinates.
    """

    reflections: Reflections
    u: np.ndarray

    @classmethod
    def of(cls, data: PhasedData) -> Sharpening:
        """That of the amplitudes of data; see :func:`_displacement`."""
        return cls(data.reflections, _displacement(data))

    @property
    def isotropic(self) -> Sharpening:
        """What is left of it if amplitudes are brought to the direction in which they are strongest."""
        return Sharpening(self.reflections, np.linalg.eigvalsh(self.u)[0] * np.eye(3))

    @cached_property
    def fall_off(self) -> np.ndarray:
        """exp(-2 pi^2 s.U.s) of each reflection, (n,)."""
        s = _reciprocal(self.reflections)
        return np.exp(-2 * np.pi**2 * np.einsum("ni,ij,nj->n", s, self.u, s))

    def apply(self, data: PhasedData) -> PhasedData:
        """Data whose amplitudes and map are sharpened; phase probabilities stay."""
        factor = 1 / self.fall_off
        return replace(data, f=data.f * factor, sigf=data.sigf * factor,
                       coefficients=data.coefficients * factor)

    def sharpen(self, coefficients: np.ndarray) -> CrystalMap:
        """The sharpened map of coefficients, (n,) complex."""
        return CrystalMap(self.reflections, coefficients / self.fall_off)

    def undo(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients, (n,) complex, of a sharpened map with the fall-off of the data."""
        return coefficients * self.fall_off


def _displacement(data: PhasedData) -> np.ndarray:
    """The U of :class:`Sharpening`, (3, 3) in Angstrom^2, by maximum likelihood.

    Intensities are taken as exponentially distributed (Wilson, 1949, Acta Cryst. 2, 318-321) about
    those of resting atoms (:func:`~.protein_statistics.log_mean_intensity`) times an anisotropic
    Gaussian, which obeys the symmetry.  Zero for data that cannot tell: beyond 4.5 Angstrom, or with
    fewer than 100 amplitudes within 5.5 Angstrom.
    """
    r = data.reflections
    used = np.isfinite(data.f) & (data.f > 0) & (r.d < LEAST_RESOLUTION)
    if r.d_min > _COARSEST or used.sum() < _FEWEST:
        return np.zeros((3, 3))
    basis = _invariant_basis(r)
    s = _reciprocal(r)[used]
    terms = -4 * np.pi**2 * np.einsum("ni,kij,nj->nk", s, basis, s)  # of log intensity
    design = np.column_stack([np.ones(len(s)), terms])
    weight = np.where(r.centric, 0.5, 1.0)[used]  # centric intensities scatter twice as much
    log_ratio = np.log(data.f[used] ** 2 / r.epsilon[used])
    log_ratio -= log_mean_intensity(r.inverse_d_squared[used])
    found = np.linalg.lstsq(design, log_ratio + _EULER, rcond=None)[0]
    for _ in range(_STEPS):
        residual = np.clip(np.exp(log_ratio - design @ found), 0, 20) - 1
        found += np.linalg.solve(design.T @ (weight[:, None] * design),
                                 design.T @ (weight * residual))
    u = np.einsum("k,kij->ij", found[1:], basis)
    return u - sharpened_b(r.d_min) / _B * np.eye(3)


def _reciprocal(r: Reflections) -> np.ndarray:
    """Orthogonal coordinates of the reflections, (n, 3) in 1/Angstrom."""
    return r.hkl @ np.array(r.cell.frac.mat.tolist())


def _invariant_basis(r: Reflections) -> np.ndarray:
    """Orthonormal symmetric matrices that the crystal's rotations leave unchanged."""
    orth, frac = (np.array(t.mat.tolist()) for t in (r.cell.orth, r.cell.frac))
    turns = [orth @ (np.array(op.rot) / op.DEN) @ frac for op in r.spacegroup.operations().sym_ops]
    basis = []
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
        matrix = np.zeros((3, 3))
        matrix[i, j] = matrix[j, i] = 1.0
        basis.append(np.mean([turn @ matrix @ turn.T for turn in turns], axis=0).ravel())
    _, size, rows = np.linalg.svd(np.array(basis))
    return rows[:6][size > 1e-6].reshape(-1, 3, 3)
