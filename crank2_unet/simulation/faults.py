"""What goes wrong with real measurements: regions without data, ice, twinning."""

from __future__ import annotations

import gemmi
import numpy as np

from ..crystal.reflections import Reflections

# rings of hexagonal ice, Angstrom (Garman & Schneider, 1997, J. Appl. Cryst. 30, 211-237)
ICE_RINGS = (3.90, 3.67, 3.44, 2.67, 2.25, 2.07, 1.95, 1.92, 1.88, 1.72)


def on_ice_rings(reflections: Reflections, width: float) -> np.ndarray:
    """Whether 1/d is within half of ``width`` (1/Angstrom) of that of a ring of ice, (n,) bool."""
    s = np.sqrt(reflections.inverse_d_squared)
    return np.any([np.abs(s - 1 / d) < width / 2 for d in ICE_RINGS], axis=0)


def out_of_reach(reflections: Reflections, cone: float, wedge: float, rng: np.random.Generator,
                 ) -> np.ndarray:
    """Reflections that a rotation about one axis, in a random direction, does not bring to light.

    An Ewald sphere of large radius is taken, on which Friedel mates are measured together.

    Parameters
    ----------
    cone : degrees; what is closer than this to the rotation axis is never measured.
    wedge : degrees of the 180 of rotation that are missing.

    Returns
    -------
    (n,) bool; true where no symmetry equivalent is measured.
    """
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    to_reciprocal = np.array(reflections.cell.frac.mat.tolist())
    lost = np.ones(len(reflections), bool)
    for op in reflections.spacegroup.operations().sym_ops:
        x, y, z = (reflections.hkl @ (np.array(op.rot) / op.DEN) @ to_reciprocal @ axes).T
        turn = np.rad2deg(np.arctan2(y, x)) % 180.0
        tilt = np.rad2deg(np.arctan2(np.hypot(x, y), np.abs(z)))
        lost &= (tilt < cone) | (turn < wedge)
    return lost


def twinned(plus: np.ndarray, minus: np.ndarray, reflections: Reflections, fraction: float,
            ) -> tuple[np.ndarray, np.ndarray]:
    """Intensities of Friedel mates, each (n,), of a merohedral twin.

    The first twin law of the lattice is taken; where it has none, the intensities stay.
    """
    spacegroup = reflections.spacegroup
    laws = gemmi.find_twin_laws(reflections.cell, spacegroup, 0.1, False)
    if not laws or fraction == 0:
        return plus, minus
    asu, operations = gemmi.ReciprocalAsu(spacegroup), spacegroup.operations()
    moved = [asu.to_asu(laws[0].apply_to_hkl(h), operations) for h in reflections.hkl.tolist()]
    place = reflections.find(np.array([h for h, _ in moved]))
    same = np.array([number % 2 == 1 for _, number in moved])  # odd: not by way of the mate
    known = place >= 0
    other_plus, other_minus = (np.where(known, np.where(same, a[place], b[place]), a)
                               for a, b in ((plus, minus), (minus, plus)))
    return ((1 - fraction) * plus + fraction * other_plus,
            (1 - fraction) * minus + fraction * other_minus)
