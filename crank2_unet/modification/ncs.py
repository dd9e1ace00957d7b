"""Averaging of density over non-crystallographic symmetry (NCS).

Follows Cowtan (2010, Acta Cryst. D66, 470-478): an operator is used where the map agrees locally with
its rotated copy, with a weight that grows with the agreement.  No envelope is needed.  As the map
becomes so good that copies are seen to differ, they are used less (:func:`copy_weight`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import gemmi
import numpy as np

from ..crystal.grids import like, orbits
from .ncs_mask import NcsMask, asu_volume, correlation_level, ncs_mask
from .ncs_operator import Operator, PeriodicMap, refined, weighted_correlation

_PEAK = 2.0  # times the 68.3 % quantile of the absolute density, at which peaks are clipped
_STEP = 2.0, 0.3  # degrees and Angstrom, first steps of the refinement


@dataclass(frozen=True)
class OperatorStatistics:
    """What an operator was worth in one cycle.

    Parameters
    ----------
    volume : of its mask, as a share of the asymmetric unit.
    correlation : of the density within the mask, weighted.
    """

    volume: float
    correlation: float


@dataclass(frozen=True)
class NcsSums:
    """Over all operators, at the points of the asymmetric unit, (m,): sums of w rho(Rx), w and w^2.

    ``correlation`` : of the density with its copies, mean over the operators by volume; None if none
    holds.  ``rotations`` : (3, 3) of those that hold.
    """

    density: np.ndarray
    weight: np.ndarray
    weight_square: np.ndarray
    correlation: float | None = None
    rotations: Sequence[np.ndarray] = ()


class NcsAverager:
    """Averages the map of each cycle; keeps and refines the operators.

    Parameters
    ----------
    operators : as found or given; an operator averages one copy with another, and its inverse the
        other way round.
    start : map by whose noise local correlations are judged.
    radius : of the sphere of local correlation, Angstrom.
    """

    looked = True  #: whether it is known by now which operators there are

    def __init__(self, operators: Sequence[Operator], start: gemmi.FloatGrid, radius: float = 6.0):
        self.operators = list(operators)  #: as last refined
        self.statistics: list[OperatorStatistics] = []  #: of the last cycle
        self._radius, self._start = radius, start

    @cached_property
    def level(self) -> float:
        """Local correlation from which the map agrees with its copy."""
        return correlation_level(_clipped(self._start), self._radius)

    def look(self, density: gemmi.FloatGrid, cycle: int, reliability: float,
             agreement: float | None) -> None:
        """Look for operators, if they are not known.

        Parameters
        ----------
        density : map of the cycle.
        cycle : number from 1.
        reliability : share of the variance of the density that is signal, 0..1.
        agreement : of held-back amplitudes with the modified map of the cycle before, their
            correlation; None: none are held back, or there is none before.
        """

    def __call__(self, density: gemmi.FloatGrid, cycle: int, reliability: float = 0.0,
                 ) -> NcsSums | None:
        """Sums over the operators, None without any; those are refined in cycles 1, 2, 4, 7, 10, ...

        ``reliability`` is as in :meth:`look`.
        """
        if not self.operators:
            return None
        fine = PeriodicMap(density)
        count = orbits(density).max() + 1
        sums, rotations = np.zeros((3, count)), []
        for operator, mask, one in self._masks(density, cycle):
            weight = copy_weight(one.correlation, reliability) * mask.weight / mask.overlap
            rotated = fine.at(operator.apply(mask.points))
            rotations.append(operator.rotation)
            for total, values in zip(sums, (weight * rotated, weight, weight**2)):
                total += np.bincount(mask.orbit, values, count)
        volume, correlation = np.array([(one.volume, one.correlation) for one in self.statistics]).T
        mean = float(np.average(correlation, weights=volume)) if volume.any() else None
        copies, weight, weight_square = sums.astype(np.float32)
        return NcsSums(copies, weight, weight_square, mean, rotations)

    def measure(self, density: gemmi.FloatGrid, cycle: int) -> None:
        """Refine the operators as in a cycle and find what they are worth, without averaging."""
        for _ in self._masks(density, cycle):
            pass

    def _masks(self, density: gemmi.FloatGrid, cycle: int,
               ) -> Iterator[tuple[Operator, NcsMask, OperatorStatistics]]:
        """Operators, refined as in a cycle, where they hold and what they are worth there; those that
        hold nowhere are left out."""
        clipped = _clipped(density)
        level_peaks = PeriodicMap(clipped)
        self.operators, self.statistics = list(self.operators), []  # own ones, also of a copy
        for number, operator in enumerate(self.operators):
            mask = ncs_mask(clipped, operator, self._radius, self.level)
            if mask is None:
                self.statistics.append(OperatorStatistics(0.0, 0.0))
                continue
            some = mask.some
            if cycle <= 2 or cycle % 3 == 1:
                operator = refined(operator, some.points, level_peaks, _STEP, some.weight)
                self.operators[number] = operator
            here, there = (level_peaks.at(p) for p in (some.points, operator.apply(some.points)))
            correlation = weighted_correlation(here, there, some.weight)
            self.statistics.append(OperatorStatistics(mask.volume / asu_volume(density), correlation))
            yield operator, mask, self.statistics[-1]


def copy_weight(correlation: float, reliability: float) -> float:
    """Weight, 0..1, of a copy's density beside a point's own in the best estimate of the truth.

    With a share q of signal in the density, maps of copies whose true densities have correlation r
    show a correlation c = qr.  The linear estimate of least error (Wiener) then weighs the two as
    r(1 - q)/(1 - q r^2) to 1: equally where noise is all that copies differ by, or while nobody can
    tell, and less and less as the map becomes so good that copies are seen to differ.
    """
    alike = min(1.0, max(correlation, 0.0) / max(reliability, 1e-6))
    return alike * (1 - reliability) / (1 - reliability * alike**2)


def _clipped(density: gemmi.FloatGrid) -> gemmi.FloatGrid:
    """The map without high peaks: heavy atoms, which an operator found from them superposes anyway,
    would make densities seem to agree."""
    limit = _PEAK * np.quantile(np.abs(density.array), 0.683)
    return like(density, np.clip(density.array, -limit, limit))
