"""Overall anisotropy of amplitudes: found by maximum likelihood, removed before and put back after.

Anisotropic data are weak along some directions; density modification, which judges reflections by
resolution alone, takes them for weak structure factors there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .data import PhasedData
from .reflections import Reflections
from .shells import Shells

_ROUNDS, _STEPS = 2, 8  # of scale and anisotropy in turn; of Fisher scoring, which converges in 5


def anisotropy(data: PhasedData) -> np.ndarray:
    """Anisotropic displacement U, (3, 3) in Angstrom^2, by which amplitudes fall off as
    exp(-2 pi^2 s.U.s), s in orthogonal coordinates.

    Wilson (1949, Acta Cryst. 2, 318-321) statistics give the likelihood; the mean intensity at a
    resolution is free.  U obeys the symmetry, and its smallest eigenvalue is 0: removing it
    sharpens the weak directions and leaves the strongest one.
    """
    r, measured = data.reflections, np.isfinite(data.f)
    shells = Shells(r, measured)
    s = _reciprocal(r)
    basis = _invariant_basis(r)
    if not len(basis):
        return np.zeros((3, 3))
    terms = -4 * np.pi**2 * np.einsum("ni,kij,nj->nk", s, basis, s)  # of log intensity
    weight = np.where(r.centric, 0.5, 1.0)[measured]  # centric intensities scatter twice as much
    intensity = np.nan_to_num(data.f) ** 2 / r.epsilon
    found = np.zeros(len(basis))
    for _ in range(_ROUNDS):
        relative = intensity / np.exp(terms @ found)
        scale = shells.rms(np.sqrt(relative)) ** 2
        design = np.column_stack([np.ones(measured.sum()), terms[measured]])
        ratio = (intensity / np.maximum(scale, 1e-30))[measured]
        full = np.concatenate([[0.0], found])
        for _ in range(_STEPS):
            residual = np.clip(ratio * np.exp(-design @ full), 0, 20) - 1
            full += np.linalg.solve(design.T @ (weight[:, None] * design),
                                    design.T @ (weight * residual))
        found = full[1:]
    u = np.einsum("k,kij->ij", found, basis)
    return u - np.linalg.eigvalsh(u)[0] * np.eye(3)


def scaled(data: PhasedData, u: np.ndarray) -> PhasedData:
    """Amplitudes and map without the fall-off ``u``; phase probabilities stay."""
    factor = 1 / fall_off(data.reflections, u)
    return replace(data, f=data.f * factor, sigf=data.sigf * factor,
                   coefficients=data.coefficients * factor)


def fall_off(reflections: Reflections, u: np.ndarray) -> np.ndarray:
    """exp(-2 pi^2 s.U.s) of each reflection, (n,); ``u`` is (3, 3), Angstrom^2."""
    s = _reciprocal(reflections)
    return np.exp(-2 * np.pi**2 * np.einsum("ni,ij,nj->n", s, u, s))


def _reciprocal(r: Reflections) -> np.ndarray:
    """Orthogonal coordinates of the reflections, (n, 3) in 1/Angstrom."""
    return r.hkl @ np.array(r.cell.frac.mat.tolist())


def _invariant_basis(r: Reflections) -> np.ndarray:
    """Orthonormal traceless symmetric matrices that the crystal's rotations leave unchanged."""
    orth, frac = (np.array(t.mat.tolist()) for t in (r.cell.orth, r.cell.frac))
    turns = [orth @ (np.array(op.rot) / op.DEN) @ frac for op in r.spacegroup.operations().sym_ops]
    basis = []
    for i, j in ((0, 0), (1, 1), (0, 1), (0, 2), (1, 2)):
        matrix = np.zeros((3, 3))
        matrix[i, j] = matrix[j, i] = 1.0
        if i == j:
            matrix[2, 2] = -1.0
        basis.append(np.mean([turn @ matrix @ turn.T for turn in turns], axis=0).ravel())
    _, size, rows = np.linalg.svd(np.array(basis))
    return rows[:5][size > 1e-6].reshape(-1, 3, 3)
