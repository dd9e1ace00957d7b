"""Where the origin of a crystal may be: maps that differ in nothing but that are the same map.

Moving the density by t multiplies F(h) by exp(2 pi i h.t).  A shift is permitted if the symmetry
operations stay where they are, (R - 1) t being a lattice vector for each rotation R; along a polar
axis, which all rotations leave as it is, any shift is.
"""

from __future__ import annotations

import gemmi
import numpy as np
from scipy.optimize import minimize

from .reflections import Reflections

_STEPS = 12  # of each cell axis: permitted shifts are multiples of halves, thirds, quarters and sixths
_POLAR = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])  # the last: of rhombohedral axes
_COARSE = 3.0  # Angstrom; the search along polar axes begins with the reflections up to here
_SAMPLES = 4  # of the shift for each period of the reflection that changes fastest


def permitted_shifts(spacegroup: gemmi.SpaceGroup) -> tuple[np.ndarray, np.ndarray]:
    """Shifts of the origin, fractional (m, 3), those by lattice vectors left out, the first of them 0;
    and directions (k, 3), integers, along which any shift may be added: k is 3 in P 1, 1 with one
    polar axis, else 0."""
    operations = spacegroup.operations()
    rotations = np.array([op.rot for op in operations.sym_ops]) // gemmi.Op.DEN
    polar = _POLAR[[bool((rotations @ d == d).all()) for d in _POLAR]][:3]
    steps = np.stack(np.unravel_index(np.arange(_STEPS**3), (_STEPS,) * 3), axis=1)
    leads = [int(np.flatnonzero(d)[0]) for d in polar]
    steps = steps[(steps[:, leads] == 0).all(axis=1)]
    centrings = np.array(operations.cen_ops) * _STEPS // gemmi.Op.DEN
    moved = steps @ (rotations - np.eye(3, dtype=int)).transpose(0, 2, 1)  # (operations, shifts, 3)
    differences = (moved[:, :, None] - centrings) % _STEPS
    steps = steps[(differences == 0).all(axis=-1).any(axis=-1).all(axis=0)]
    # of shifts that differ by a centring (and along the polar axis) the first one stays
    distinct: dict[tuple, np.ndarray] = {}
    for step in steps:
        same = step + centrings
        for direction, lead in zip(polar, leads):
            same = same - same[:, [lead]] * direction
        distinct.setdefault(min(map(tuple, same % _STEPS)), step)
    return np.array(list(distinct.values())) / _STEPS, polar


def best_shift(coefficients: np.ndarray, reference: np.ndarray, reflections: Reflections) -> np.ndarray:
    """The permitted shift, fractional (3,), after which a map correlates best with another.

    Parameters
    ----------
    coefficients, reference : (n,) complex, of both maps.
    """
    product = reflections.multiplicity * coefficients * np.conj(reference)
    shifts, polar = permitted_shifts(reflections.spacegroup)
    found = [(*_along_axes(product * _turn(reflections, shift), polar, reflections), shift)
             for shift in shifts]
    _, along, shift = max(found, key=lambda one: one[0])
    return shift + along


def shifted(coefficients: np.ndarray, reflections: Reflections, shift: np.ndarray) -> np.ndarray:
    """Coefficients (n,) of a map moved by a fraction of each cell axis."""
    return coefficients * _turn(reflections, shift)


def _turn(reflections: Reflections, shift: np.ndarray) -> np.ndarray:
    return np.exp(2j * np.pi * (reflections.hkl @ shift))


def _along_axes(product: np.ndarray, polar: np.ndarray, reflections: Reflections,
                ) -> tuple[float, np.ndarray]:
    """Largest sum of ``product`` (n,) over shifts along polar axes, and that shift (3,)."""
    if len(polar) == 0:
        return float(product.real.sum()), np.zeros(3)
    order = reflections.hkl @ polar.T  # periods of each reflection along the axes, (n, k)
    low = reflections.d >= min(_COARSE, reflections.d.max())
    size = [int(2 ** np.ceil(np.log2(_SAMPLES * (abs(n).max() + 1)))) for n in order[low].T]
    sums = np.zeros(size, complex)
    np.add.at(sums, tuple(order[low].T), product[low])  # negative orders count from the end
    profile = np.fft.ifftn(sums).real
    start = np.array(np.unravel_index(profile.argmax(), size)) / size

    def minus_sum(t: np.ndarray) -> tuple[float, np.ndarray]:
        turned = product * np.exp(2j * np.pi * (order @ t))
        return -turned.real.sum(), 2 * np.pi * (turned.imag @ order)
    found = minimize(minus_sum, start, jac=True)
    return -float(found.fun), found.x @ polar
