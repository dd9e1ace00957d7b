"""Averages in resolution shells as smooth functions of resolution."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from .reflections import Reflections

_PER_SHELL, _MAX_SHELLS = 500, 20  # reflections for a mean good to 5 %; enough for any fall-off


class Shells:
    """Resolution shells that hold equal numbers of measured reflections.

    Values between the centres of shells are interpolated linearly in the rank of resolution, and
    kept constant outside.

    Parameters
    ----------
    reflections : complete list of n reflections.
    measured : (n,) bool.

    Raises
    ------
    InputError : no reflection is measured.
    """

    def __init__(self, reflections: Reflections, measured: np.ndarray):
        if not measured.any():
            raise InputError("There are no observed amplitudes; check the columns of the data.")
        self.measured = measured
        self.count = int(np.clip(measured.sum() / _PER_SHELL, 1, _MAX_SHELLS))
        self._shell = reflections.in_bins(self.count, measured)
        ranked = np.sort(reflections.inverse_d_squared[measured])
        self._place = np.interp(reflections.inverse_d_squared, ranked,
                                np.linspace(-0.5, self.count - 0.5, len(ranked)))

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Values (count,) of the shells at each reflection, (n,)."""
        return np.interp(self._place, np.arange(self.count), values)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sums in shells, (count,), of values given for the measured reflections only."""
        return np.bincount(self._shell[self.measured], values, self.count)

    def mean(self, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Mean of ``values`` (n,) over measured and ``chosen`` reflections at each reflection."""
        chosen = chosen & self.measured
        number = np.bincount(self._shell[chosen], minlength=self.count)
        filled = np.flatnonzero(number)
        if len(filled) == 0:
            return np.zeros(len(values))
        total = np.bincount(self._shell[chosen], values[chosen], self.count)
        return np.interp(self._place, filled, total[filled] / number[filled])

    def rms(self, values: np.ndarray) -> np.ndarray:
        """Root mean square of ``values`` (n,) at each reflection; it may fall steeply."""
        log_square = np.zeros(len(values))
        for _ in range(2):  # the second round corrects for the fall within a shell
            rest = self.total((values**2 / np.exp(log_square))[self.measured])
            rest /= self.total(np.ones(self.measured.sum()))
            log_square += self.interpolate(np.log(np.maximum(rest, 1e-30)))
        return np.exp(log_square / 2)
