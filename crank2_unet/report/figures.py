"""Drawings of the report: sections of maps as PNG, curves as SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import gemmi
import numpy as np

INK, GREY, SAND = "#1d2b38", "#8a97a3", "#c9b79c"
BLUE, ORANGE, GREEN = "#2a6f97", "#e4572e", "#3a9d6e"
AXIS_NAMES = "abc"
CHART_SIZE = (4.6, 2.9)  # inches; wide enough for a phone, three in a row on a desk
SECTION_WIDTH = 4.6  # inches
LEFT, RIGHT, BOTTOM, TOP = 0.75, 0.2, 0.55, 0.1  # margins, inches; room for numbers and labels
PIXELS_PER_INCH = 150  # a section is then 690 pixels wide, sharp on a phone
LONGEST_SIDE = 600  # points of a section; more would not be seen in 690 pixels

CYCLE_TITLES = {
    "fom": "Figure of merit",
    "solvent_fraction": "Solvent fraction of the mask",
    "gamma": "Gamma",
    "f_correlation": "Correlation of amplitudes",
    "phase_change": "Phase change (degrees)",
    "r_factor": "R factor",
    "seconds": "Time (s)",
}


@dataclass(frozen=True)
class Picture:
    """A drawing: its title, a description for those who cannot see it, and its file.

    ``kind`` is "png" or "svg".
    """

    title: str
    alt: str
    content: bytes
    kind: str

    @property
    def uri(self) -> str:
        """Data URI for the ``src`` of an <img>."""
        return data_uri(self.content, self.kind)


def data_uri(content: bytes, kind: str) -> str:
    """Data URI of a PNG or SVG file."""
    mime = {"png": "image/png", "svg": "image/svg+xml"}[kind]
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True)
class Section:
    """A plane of grid points parallel to two cell axes (0, 1, 2 = a, b, c).

    ``horizontal`` is the longer of the two; ``index`` counts points along ``normal``.
    """

    normal: int
    horizontal: int
    vertical: int
    index: int

    def points(self, grid: gemmi.FloatGrid) -> np.ndarray:
        """Values (n_vertical + 1, n_horizontal + 1): the first row and column come again."""
        plane = np.take(grid.array, self.index, axis=self.normal)
        plane = plane.T if self.horizontal < self.vertical else plane
        return np.pad(plane, (0, 1), mode="wrap")

    def to_angstrom(self, cell: gemmi.UnitCell) -> np.ndarray:
        """Matrix (2, 2) from fractions along the two axes to orthogonal coordinates, Angstrom."""
        axes = np.array(cell.orth.mat.tolist()).T
        horizontal, vertical = axes[self.horizontal], axes[self.vertical]
        length = np.linalg.norm(horizontal)
        lean = horizontal @ vertical / length
        return np.array([[length, lean], [0.0, np.sqrt(vertical @ vertical - lean**2)]])


def telling_sections(grid: gemmi.FloatGrid) -> list[Section]:
    """The section along each cell axis over which ``grid`` varies most.

    Of P(solvent) or a mask that is the section where protein and solvent are both well seen.
    """
    lengths = grid.unit_cell.parameters[:3]
    sections = []
    for normal in (2, 1, 0):
        inside = [axis for axis in range(3) if axis != normal]
        vertical, horizontal = sorted(inside, key=lambda axis: (lengths[axis], -axis))
        index = int(np.argmax(grid.array.std(axis=tuple(inside))))
        sections.append(Section(normal, horizontal, vertical, index))
    return sections


def section_picture(section: Section, grid: gemmi.FloatGrid, mask: gemmi.FloatGrid, title: str,
                    colours: str, limits: tuple[float, float]) -> Picture:
    """A section of ``grid`` in Angstrom with the outline of the solvent mask.

    Parameters
    ----------
    grid, mask : on the same grid.
    colours : name of a matplotlib colour map.
    limits : values of ``grid`` drawn in the first and the last colour.
    """
    from matplotlib.transforms import Affine2D

    matrix = section.to_angstrom(grid.unit_cell)
    corners = matrix @ np.array([[0, 1, 1, 0], [0, 0, 1, 1]])
    extent = np.ptp(corners, axis=1)
    width = SECTION_WIDTH - LEFT - RIGHT
    figure, axes = _axes((SECTION_WIDTH, width * extent[1] / extent[0] + BOTTOM + TOP))
    values = _thinned(section.points(grid))
    half = [0.5 / (n - 1) for n in values.shape]  # grid points are at the centres of pixels
    image = axes.imshow(
        values, cmap=colours, vmin=limits[0], vmax=limits[1], origin="lower",
        interpolation="bilinear",
        extent=(-half[1], 1 + half[1], -half[0], 1 + half[0]),
        transform=Affine2D(np.block([[matrix, np.zeros((2, 1))], [0, 0, 1]])) + axes.transData)
    outline, = axes.fill(*corners, fill=False, edgecolor=GREY, linewidth=0.8)
    image.set_clip_path(outline)
    _draw_outline(axes, _thinned(section.points(mask)), matrix)
    axes.set(xlim=_widened(corners[0]), ylim=_widened(corners[1]), aspect="equal",
             xlabel=f"along {AXIS_NAMES[section.horizontal]} (Å)",
             ylabel=_vertical_label(section, matrix))
    axes.grid(False)
    return _picture(title, f"{title}: {_place(section, grid)}", figure, "png")


def _thinned(values: np.ndarray) -> np.ndarray:
    """At most LONGEST_SIDE rows and columns of ``values``, the first and the last among them."""
    kept = [np.linspace(0, n - 1, min(n, LONGEST_SIDE)).round().astype(int) for n in values.shape]
    return values[np.ix_(*kept)]


def _draw_outline(axes, mask: np.ndarray, matrix: np.ndarray) -> None:
    if mask.min() < 0.5 < mask.max():  # a section all of one kind has no outline
        fractions = np.meshgrid(*(np.linspace(0, 1, n) for n in mask.shape[::-1]))
        x, y = np.tensordot(matrix, fractions, axes=1)
        axes.contour(x, y, mask, [0.5], colors=ORANGE, linewidths=1.1)


def _widened(values: np.ndarray) -> tuple[float, float]:
    margin = 0.01 * np.ptp(values)
    return values.min() - margin, values.max() + margin


def _vertical_label(section: Section, matrix: np.ndarray) -> str:
    if abs(matrix[0, 1]) < 1e-3 * matrix[1, 1]:
        return f"along {AXIS_NAMES[section.vertical]} (Å)"
    return f"across {AXIS_NAMES[section.horizontal]} (Å)"


def _place(section: Section, grid: gemmi.FloatGrid) -> str:
    fraction = section.index / grid.shape[section.normal]
    return f"{'xyz'[section.normal]} = {fraction:.3f}"


def section_title(section: Section, grid: gemmi.FloatGrid) -> str:
    """Which plane a section is, for example ``plane of a and b at z = 0.250``."""
    names = sorted(AXIS_NAMES[axis] for axis in (section.horizontal, section.vertical))
    return f"Plane of {names[0]} and {names[1]} at {_place(section, grid)}"


def histogram_picture(edges: Sequence[float], counts: Sequence[float],
                      cutoff: float | None) -> Picture:
    """How often each P(solvent) occurs in the asymmetric unit, and where the mask begins."""
    figure, axes = _axes()
    bounds = np.asarray(edges, float)
    share = np.asarray(counts, float) / max(np.sum(counts), 1)
    solvent = bounds[:-1] >= (0.5 if cutoff is None else cutoff)
    axes.bar(bounds[:-1], share, np.diff(bounds), align="edge",
             color=np.where(solvent, BLUE, SAND))
    axes.axvline(0.5, color=GREY, linestyle=":", label="even odds")
    if cutoff is not None:
        axes.axvline(cutoff, color=ORANGE, label=f"mask from {cutoff:.2f}")
    axes.set(xlabel="P(solvent)", ylabel="share of the points", xlim=(0, 1))
    _legend(axes)
    return _picture("How sure the network is", "Histogram of P(solvent)", figure, "svg")


def solvent_picture(chosen: float, copies: Sequence[Mapping],
                    distributions: Mapping | None) -> Picture:
    """Distributions of the solvent content, each scaled to a maximum of 1.

    Parameters
    ----------
    chosen : solvent content used, 0 to 1.
    copies : ``solvent`` and ``probability`` of each possible number of ``copies``.
    distributions : ``solvent`` (n,) and, where known, ``matthews``, ``unet``, ``joint`` (n,).
    """
    figure, axes = _axes()
    curves = distributions or {}
    styles = {"matthews": (GREY, "Matthews"), "unet": (BLUE, "network"),
              "joint": (GREEN, "both together")}
    for key, (colour, label) in styles.items():
        values = np.array(curves.get(key) or [0.0], float)
        if np.nanmax(values) > 0:
            axes.plot(curves["solvent"], values / np.nanmax(values), color=colour, label=label)
    if copies:
        bars = axes.bar([option["solvent"] for option in copies],
                        [option["probability"] for option in copies], 0.018, color=SAND,
                        label="n copies")
        axes.bar_label(bars, [option["copies"] for option in copies], padding=2, color=INK)
    axes.axvline(chosen, color=ORANGE, label=f"used: {chosen:.3f}")
    axes.set(xlabel="solvent content", ylabel="relative probability", xlim=(0, 1), ylim=(0, 1.18))
    _legend(axes)
    return _picture("Solvent content", "Distributions of the solvent content", figure, "svg")


def cycle_pictures(cycles: Sequence[Mapping]) -> list[Picture]:
    """One curve for each number that the cycles of density modification report."""
    keys = {key: None for cycle in cycles for key, value in cycle.items()
            if key != "cycle" and isinstance(value, Real) and not isinstance(value, bool)}
    return [_cycle_picture(cycles, key) for key in keys]


def _cycle_picture(cycles: Sequence[Mapping], key: str) -> Picture:
    numbers = [cycle.get("cycle", i) for i, cycle in enumerate(cycles, 1)]
    values = [np.nan if cycle.get(key) is None else cycle[key] for cycle in cycles]
    figure, axes = _axes()
    axes.plot(numbers, values, color=BLUE, marker="o", markersize=3.5)
    axes.set(xlabel="cycle")
    axes.xaxis.get_major_locator().set_params(integer=True)
    title = CYCLE_TITLES.get(key, key.replace("_", " "))
    return _picture(title, f"{title} by cycle", figure, "svg")


def fom_picture(bins: Sequence[Mapping]) -> Picture:
    """Figure of merit against resolution; ``bins`` hold ``d_min`` (Angstrom) and ``fom``."""
    figure, axes = _axes()
    axes.plot([item["d_min"] ** -2 for item in bins], [item["fom"] for item in bins],
              color=BLUE, marker="o", markersize=3.5)
    ticks = axes.get_xticks()
    ticks = ticks[(ticks > 0) & (ticks <= max(item["d_min"] ** -2 for item in bins))]
    axes.set_xticks(ticks, [f"{tick ** -0.5:.2f}" for tick in ticks])
    axes.set(xlabel="resolution (Å)", ylabel="figure of merit", ylim=(0, 1))
    return _picture("Phasing by resolution", "Figure of merit against resolution", figure, "svg")


def _axes(size: tuple[float, float] = CHART_SIZE):
    """A figure of its own, outside the state that pyplot keeps, with one plain pair of axes."""
    from matplotlib import style
    from matplotlib.figure import Figure

    look = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False,
            "axes.edgecolor": GREY, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
            "axes.grid": True, "grid.color": "#e6eaee", "axes.axisbelow": True,
            "lines.linewidth": 2}
    with style.context(["default", look]):
        figure = Figure(figsize=size)
        width, height = size
        return figure, figure.add_axes((LEFT / width, BOTTOM / height,
                                        1 - (LEFT + RIGHT) / width, 1 - (BOTTOM + TOP) / height))


def _legend(axes) -> None:
    axes.legend(frameon=False, fontsize=9.5, loc="best", handlelength=1.4)


def _picture(title: str, alt: str, figure, kind: str) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=PIXELS_PER_INCH)
    return Picture(title, alt, buffer.getvalue(), kind)
