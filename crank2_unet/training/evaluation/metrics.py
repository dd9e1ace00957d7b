"""Agreement of solvent masks with the truth, and tables of it in plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Confusion:
    """Confusion matrix of a mask, solvent being the positive class.

    Parameters
    ----------
    true_positive, false_positive, true_negative, false_negative : weights (>= 0, in sum > 0); with
        weights of the points of an asymmetric unit, shares of the crystal's volume.
    """

    true_positive: float
    false_positive: float
    true_negative: float
    false_negative: float

    @classmethod
    def of_masks(cls, predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> Confusion:
        """From masks of one shape, solvent where above 0.5, and the weights of their points.

        ``weights`` of the same shape: 1 (or true) at one point of each symmetry orbit and 0 at
        the others gives :func:`crank2_unet.crystal.grids.asymmetric_unit`'s weighting.
        """
        cell = 2 * (np.asarray(truth) > 0.5) + (np.asarray(predicted) > 0.5)
        counts = np.bincount(cell.ravel(), np.asarray(weights, float).ravel(), minlength=4)
        true_negative, false_positive, false_negative, true_positive = (float(n) for n in counts)
        return cls(true_positive, false_positive, true_negative, false_negative)

    def __add__(self, other: Confusion) -> Confusion:
        """Pooled over points, so that a large crystal counts for more."""
        return Confusion(self.true_positive + other.true_positive,
                         self.false_positive + other.false_positive,
                         self.true_negative + other.true_negative,
                         self.false_negative + other.false_negative)

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return (self.true_positive + self.false_positive
                + self.true_negative + self.false_negative)

    @property
    def accuracy(self) -> float:
        """Share of points labelled right, 0..1."""
        return (self.true_positive + self.true_negative) / self.total

    @property
    def precision(self) -> float:
        """Share of the predicted solvent that is solvent; NaN if none is predicted."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of the solvent that is found; NaN if there is none."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float:
        """Share of the macromolecule that is found; NaN if there is none."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN if no solvent is true or predicted."""
        return _ratio(2 * self.true_positive,
                      2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def mcc(self) -> float:
        """Matthews correlation coefficient, -1..1; 0 if either mask has one class only."""
        margins = ((self.true_positive + self.false_positive)
                   * (self.true_positive + self.false_negative)
                   * (self.true_negative + self.false_positive)
                   * (self.true_negative + self.false_negative))
        product = (self.true_positive * self.true_negative
                   - self.false_positive * self.false_negative)
        return product / np.sqrt(margins) if margins > 0 else 0.0

    @property
    def majority(self) -> float:
        """Accuracy of calling every point the more frequent class: what a mask has to beat."""
        solvent = (self.true_positive + self.false_negative) / self.total
        return max(solvent, 1 - solvent)

    def scores(self) -> dict[str, float]:
        """All scores by name, in the order in which tables show them."""
        return {name: float(getattr(self, name)) for name in SCORES}


SCORES = ("accuracy", "majority", "precision", "recall", "specificity", "f1", "mcc")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def format_table(header: Sequence[str], rows: Sequence[Sequence], digits: int = 3) -> str:
    """Columns in plain text: words left-aligned, numbers right-aligned, NaN and None as "-".

    Parameters
    ----------
    header : names of the c columns.
    rows : each of c words, integers or floats (shown with ``digits`` decimals).
    """
    cells = [list(header)] + [[show(value, digits) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    words = [any(isinstance(row[i], str) for row in rows) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) if word else cell.rjust(width)
                       for cell, width, word in zip(line, widths, words)) for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def show(value: object, digits: int = 3) -> str:
    """A value as tables show it."""
    if value is None or value != value:  # only NaN differs from itself
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, (float, np.floating)) else str(value)
