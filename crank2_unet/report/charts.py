"""Line charts and histograms as inline SVG, in the colours of the page that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

_WIDTH, _HEIGHT = 360, 232
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 42
_NICE = (1, 2, 2.5, 5, 10)
_RESOLUTIONS = (20, 10, 8, 6, 5, 4, 3.5, 3, 2.7, 2.4, 2.2, 2, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1,
                0.9, 0.8, 0.7, 0.6, 0.5)
_CLOSEST = 30  # pixels between two numbers below the axis


@dataclass(frozen=True)
class Axis:
    """Label, first and last value, and the values that are written at it, as text."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    @classmethod
    def linear(cls, label: str, low: float, high: float, most: int = 6) -> Axis:
        """An axis that ends at round numbers at or beyond ``low`` and ``high``."""
        step = _nice_step((high - low) / (most - 1))
        ends = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
        values = step * np.arange(ends[0], ends[1] + 1)
        return cls(label, values[0], values[-1], [(value, f"{value:.6g}") for value in values])

    @classmethod
    def of_cycles(cls, count: int) -> Axis:
        """From the first cycle to the last."""
        step = max(1, int(np.ceil(count / 10)))
        return cls("cycle", 1, max(count, 2), [(i, str(i)) for i in range(1, count + 1, step)])

    @classmethod
    def of_resolution(cls, d_min: float) -> Axis:
        """In 1/d^2, from infinity on the left to ``d_min`` Angstrom."""
        high = d_min ** -2
        ticks: list[tuple[float, str]] = []
        for d in _RESOLUTIONS:
            place, before = d ** -2, ticks[-1][0] if ticks else -high
            if place <= 1.01 * high and (place - before) / high * (_WIDTH - _LEFT - _RIGHT) > _CLOSEST:
                ticks.append((place, f"{d:g}"))
        return cls("resolution (Å)", 0, high, ticks)


def _nice_step(least: float) -> float:
    power = 10 ** np.floor(np.log10(max(least, 1e-12)))
    return next(n * power for n in _NICE if n * power >= least * (1 - 1e-9))


@dataclass(frozen=True)
class Curve:
    """Points of a curve; None and NaN are left out.  ``plain``: a line without markers."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    plain: bool = False


@dataclass(frozen=True)
class Bars:
    """Bars between ``edges`` (n + 1) of heights (n,); those from ``marked`` on in another colour."""

    edges: Sequence[float]
    heights: Sequence[float]
    marked: float


@dataclass(frozen=True)
class Chart:
    """A drawing with its title; ``term`` explains what is drawn.

    ``marks`` are vertical lines, place and label.
    """

    title: str
    term: str
    x: Axis
    y: Axis
    curves: Sequence[Curve]
    bars: Bars | None = None
    marks: Sequence[tuple[float, str]] = field(default_factory=tuple)

    @property
    def legend(self) -> list[tuple[str, str]]:
        """Class of the style sheet and label of what needs to be told apart."""
        curves = [(f"curve-{i}", curve.label) for i, curve in enumerate(self.curves)]
        entries = [*curves, *(("mark", label) for _, label in self.marks if label)]
        plain = len(entries) == 1 and entries[0][1].casefold() == self.title.casefold()
        return [] if plain else entries

    @property
    def summary(self) -> str:
        """The drawing in words."""
        told = []
        for curve in self.curves:
            shown = [(x, y) for x, y in zip(curve.x, curve.y) if y is not None and np.isfinite(y)]
            if shown and not curve.plain:
                told.append(f"{curve.label} from {shown[0][1]:.3g} to {shown[-1][1]:.3g}")
        marks = [label for _, label in self.marks if label]
        return f"{self.title}: {'; '.join(told + marks)}" if told or marks else self.title

    @property
    def svg(self) -> str:
        """The drawing as an element for a page."""
        parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
                 f'aria-label="{escape(self.summary)}">', *self._axes()]
        if self.bars:
            parts += self._bars(self.bars)
        parts += [self._vertical("mark", x) for x, _ in self.marks]
        for number, curve in enumerate(self.curves):
            parts += self._curve(number, curve)
        return "".join([*parts, "</svg>"])

    def _place(self, x: float, y: float) -> tuple[float, float]:
        right, up = ((value - axis.low) / (axis.high - axis.low) for value, axis in
                     ((x, self.x), (y, self.y)))
        return (_LEFT + right * (_WIDTH - _LEFT - _RIGHT),
                _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM))

    def _axes(self) -> list[str]:
        left, bottom = self._place(self.x.low, self.y.low)
        right, top = self._place(self.x.high, self.y.high)
        parts = []
        for value, text in self.y.ticks:
            _, y = self._place(self.x.low, value)
            parts.append(f'<path class="rule" d="M{left:.1f} {y:.1f}H{right:.1f}"/>'
                         f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        for value, text in self.x.ticks:
            x, _ = self._place(value, self.y.low)
            parts.append(f'<path class="axis" d="M{x:.1f} {bottom:.1f}v4"/>'
                         f'<text x="{x:.1f}" y="{bottom + 17:.1f}" text-anchor="middle">{text}</text>')
        middle = (left + right) / 2, (top + bottom) / 2
        return [*parts, f'<path class="axis" d="M{left:.1f} {bottom:.1f}H{right:.1f}"/>'
                f'<text x="{middle[0]:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">'
                f'{escape(self.x.label)}</text>'
                f'<text transform="translate(11 {middle[1]:.1f}) rotate(-90)" text-anchor="middle">'
                f'{escape(self.y.label)}</text>']

    def _bars(self, bars: Bars) -> list[str]:
        parts = []
        for low, high, height in zip(bars.edges, bars.edges[1:], bars.heights):
            (left, top), (right, bottom) = self._place(low, height), self._place(high, self.y.low)
            kind = "bar marked" if low >= bars.marked else "bar"
            parts.append(f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" '
                         f'width="{right - left:.1f}" height="{bottom - top:.1f}"/>')
        return parts

    def _vertical(self, kind: str, value: float) -> str:
        x, bottom = self._place(value, self.y.low)
        return f'<path class="{kind}" d="M{x:.1f} {bottom:.1f}V{_TOP}"/>'

    def _curve(self, number: int, curve: Curve) -> list[str]:
        points = [(x, y, *self._place(x, y)) for x, y in zip(curve.x, curve.y)
                  if y is not None and np.isfinite(y)]
        line = "L".join(f"{left:.1f} {top:.1f}" for _, _, left, top in points)
        parts = [f'<path class="curve curve-{number}" d="M{line}"/>'] if points else []
        if not curve.plain:
            parts += [f'<circle class="curve-{number}" cx="{left:.1f}" cy="{top:.1f}" r="3"><title>'
                      f'{escape(curve.label)}: {y:.3g}</title></circle>' for _, y, left, top in points]
        return parts
