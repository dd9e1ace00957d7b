"""What density modification did at each resolution, acentric and centric reflections apart."""

from __future__ import annotations

import numpy as np

from ..crystal.observations import PhasedData
from ..crystal.phases import angle_degrees, phase_difference
from .weighting import Weighted

_PER_SHELL, _MOST = 1000, 10  # reflections, of which some 80 are held back; shells
_FEWEST = 20  # reflections for a mean or a correlation that says something


def shell_statistics(data: PhasedData, phi: np.ndarray, fom: np.ndarray,
                     weighted: Weighted | None = None, control: Weighted | None = None,
                     held_back: np.ndarray | None = None) -> list[dict]:
    """Statistics of the reflections that are measured and in the starting map, in shells of equally
    many of them.

    Parameters
    ----------
    data : what density modification started from, n reflections.
    phi, fom : (n,) phases after it, degrees, and figures of merit.
    weighted : the last combination of phases, for sigma-A.
    control : that of the map that does not know the amplitudes of ``held_back``, (n,) bool.

    Returns
    -------
    For each shell ``d_max``, ``d_min`` (Angstrom); ``acentric`` and ``centric``: ``n``, ``fom`` and
    ``phase_change`` (mean, from the starting map, degrees); ``sigma_a``; ``work_correlation`` and
    ``free_correlation`` of observed and modified amplitudes in the control, of those that it knows and
    of those held back.  What fewer than 20 reflections would tell is None.
    """
    r, measured = data.reflections, np.isfinite(data.f) & (data.coefficients != 0)
    count = int(np.clip(measured.sum() // _PER_SHELL, 1, _MOST))
    shell = np.where(measured, r.in_bins(count, measured), -1)
    change = phase_difference(phi, angle_degrees(data.coefficients))
    known = np.zeros(len(r), bool) if held_back is None else ~held_back
    rows = []
    for inside in (shell == number for number in range(count)):
        row: dict = {"d_max": float(r.d[inside].max()), "d_min": float(r.d[inside].min())}
        for kind, chosen in (("acentric", inside & ~r.centric), ("centric", inside & r.centric)):
            row[kind] = {"n": int(chosen.sum()), "fom": _mean(fom[chosen]),
                         "phase_change": _mean(change[chosen])}
        if weighted is not None:
            row["sigma_a"] = _mean(weighted.sigma_a[inside])
        if control is not None:
            e_obs, e_calc = data.f / np.sqrt(r.epsilon), np.abs(control.f_calc) / np.sqrt(r.epsilon)
            for name, chosen in (("work", inside & known), ("free", inside & ~known)):
                row[f"{name}_correlation"] = _correlation(e_obs[chosen], e_calc[chosen])
        rows.append(row)
    return rows


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) >= _FEWEST else None


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    return float(np.corrcoef(one, other)[0, 1]) if len(one) >= _FEWEST else None
