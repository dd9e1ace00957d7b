"""Reflections that are set aside for a free R value."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from .mtz_input import Input

_MOST = 0.5  # share of the measured reflections


@dataclass(frozen=True)
class FreeSet:
    """Reflections set aside.

    Parameters
    ----------
    label, value : column of flags and its value that marks them.
    n : measured reflections among them.
    """

    label: str
    value: int
    n: int


def set_aside(given: Input, text: str) -> tuple[Input, FreeSet]:
    """The data as if reflections had not been measured that a column flags.

    Parameters
    ----------
    given : as read.
    text : label of the column, or "label=value".  Without a value: of two values the rarer one marks
        the reflections (as in Phenix and SHELX), of several 0 (as in CCP4).

    Raises
    ------
    InputError : no such column, or it marks no reflections or most of them.
    """
    label, _, wanted = text.partition("=")
    file, reflections = given.file, given.data.reflections
    if label not in [column.label for column in file.columns]:
        whole = [column.label for column in file.columns if column.type == "I"]
        raise InputError(f"{file.path} has no column {label}. " + (
            f"Its columns of whole numbers are: {', '.join(whole)}." if whole
            else "It has no column of flags."))
    flags = reflections.spread(file.hkl, file.column(label))
    measured = np.isfinite(given.data.f)
    value = _chosen(flags[measured & np.isfinite(flags)], wanted, text)
    free = flags == value
    number = int((free & measured).sum())
    if not 0 < number < _MOST * measured.sum():
        raise InputError(f"{text}: {number} of {measured.sum()} measured reflections have the value "
                         f"{value}. Name the value that marks those to be kept out, as {label}=1.")
    data = replace(given.data, f=np.where(free, np.nan, given.data.f),
                   sigf=np.where(free, np.nan, given.data.sigf),
                   hl=np.where(free[:, None], 0.0, given.data.hl),
                   coefficients=np.where(free, 0.0, given.data.coefficients))
    return replace(given, data=data), FreeSet(label, value, number)


def _chosen(flags: np.ndarray, wanted: str, text: str) -> int:
    """The value that marks reflections; ``flags`` are those of the measured ones."""
    if wanted:
        try:
            return int(wanted)
        except ValueError:
            raise InputError(f"--free {text}: {wanted} is no whole number.") from None
    values, counts = np.unique(flags, return_counts=True)
    return int(values[np.argmin(counts)]) if len(values) == 2 else 0
