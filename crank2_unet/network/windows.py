"""Which Cartesian windows cover the asymmetric unit, and how their results are joined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Three 2x2x2 poolings: window sizes must be multiples of 2^3.
_MULTIPLE = 8


@dataclass(frozen=True)
class WindowPlan:
    """Equal windows on one Cartesian lattice.

    Parameters
    ----------
    origin : (3,) orthogonal coordinates, Angstrom, of lattice point (0, 0, 0).
    spacing : Angstrom.
    shape : points of a window along each axis.
    starts : (m, 3) int, lattice point at which each window begins.
    extent : (3,) lattice points that the windows reach over.
    margin : points at each side of a window, whose results have little context.
    """

    origin: np.ndarray
    spacing: float
    shape: tuple
    starts: np.ndarray
    extent: tuple
    margin: int

    def corner(self, start: np.ndarray) -> np.ndarray:
        """Orthogonal coordinates, Angstrom, of the first point of the window at ``start``."""
        return self.origin + self.spacing * np.asarray(start)


def plan_windows(points: np.ndarray, spacing: float, margin: int, largest: int) -> WindowPlan:
    """Fewest equal windows whose inner parts cover the points.

    Parameters
    ----------
    points : (n, 3) orthogonal coordinates to be covered, Angstrom.
    spacing : Angstrom between window points.
    margin : points of context to be left at each side of a window.
    largest : most points along a window axis.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    needed = np.ceil((high - low) / spacing).astype(int) + 1
    core_limit = largest // _MULTIPLE * _MULTIPLE - 2 * margin
    counts = -(-needed // core_limit)
    shape = -(-(-(-needed // counts) + 2 * margin) // _MULTIPLE) * _MULTIPLE
    core = shape - 2 * margin
    # spare points are shared by both ends, so that the outermost windows get as much context
    origin = low - spacing * (margin + (core * counts - needed) / 2)
    inside = np.floor(((points - origin) / spacing - margin) / core).astype(int)
    occupied = np.zeros(counts, bool)
    occupied[tuple(np.clip(inside, 0, counts - 1).T)] = True
    return WindowPlan(origin, spacing, tuple(int(n) for n in shape), core * np.argwhere(occupied),
                      tuple(int(n) for n in core * counts + 2 * margin), margin)


def blend_weights(shape: tuple, margin: int) -> np.ndarray:
    """Weight of each point of a window: 1 inside, falling linearly to nearly 0 across the margins.

    Neighbouring windows overlap by twice the margin, so that the ramps of both meet in the middle.
    """
    def ramp(length: int) -> np.ndarray:
        distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
        return np.minimum(distance / (2 * margin), 1.0) if margin else np.ones(length)

    x, y, z = (ramp(length) for length in shape)
    return (x[:, None, None] * y[:, None] * z).astype(np.float32)


class Stitcher:
    """Weighted mean of overlapping windows on the lattice of a plan."""

    def __init__(self, plan: WindowPlan):
        self._plan = plan
        self._weights = blend_weights(plan.shape, plan.margin)
        self._sum = np.zeros(plan.extent, np.float32)
        self._total = np.zeros(plan.extent, np.float32)

    def add(self, start: np.ndarray, values: np.ndarray) -> None:
        """Add the result, of the plan's window shape, of the window that begins at ``start``."""
        where = tuple(slice(s, s + n) for s, n in zip(start, self._plan.shape))
        self._sum[where] += self._weights * values
        self._total[where] += self._weights

    def mean(self) -> np.ndarray:
        """Blended values on the lattice, ``plan.extent``; 0 where no window reaches."""
        return self._sum / np.maximum(self._total, 1e-12)
