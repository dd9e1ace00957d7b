"""Sections of maps, and how they are drawn."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import gemmi
import numpy as np
from scipy.ndimage import map_coordinates

AXIS_NAMES, FRACTION_NAMES = "abc", "xyz"
DENSITY_LIMITS = -1.0, 4.0  # sigma, drawn white and black: noise pale, atoms dark
_WIDTH = 480  # pixels of a section; three stand side by side on a desk
_HIGHEST = 1.6  # height by width, beyond which a section is made narrower
_LEVELS, _SHARES = 60, 4  # of the palette: steps of the colour, of the outline over it
_PAPER = (255, 255, 255)
_INK = {"density": (16, 24, 32), "probability": (8, 72, 140)}
_OUTLINE = (228, 87, 46)
_LINE = 1.3  # half the width of an outline, pixels
_SITE = (10, 143, 106)
_SITE_RADIUS, _LEAST_RADIUS = 2.0, 0.7  # Angstrom; of a site in the section, of those farther off


@dataclass(frozen=True)
class Layer:
    """A map that the report shows.

    Parameters
    ----------
    name : what it is, for readers.
    grid : over the whole cell.
    mask : 1 = solvent, 0 = protein, whose outline is drawn over it; None: no outline.
    kind : "density" (any scale, drawn in standard deviations) or "probability" (0 to 1).
    sites : fractional coordinates to be marked, with their symmetry mates.
    """

    name: str
    grid: gemmi.FloatGrid
    mask: gemmi.FloatGrid | None = None
    kind: str = "density"
    sites: Sequence[Sequence[float]] = ()

    def in_units(self, values: np.ndarray) -> np.ndarray:
        """Values of the grid as they are shown: density in standard deviations from its mean."""
        if self.kind == "probability":
            return values
        mean, deviation = self._spread
        return (values - mean) / max(deviation, 1e-30)

    @property
    def places(self) -> list[list[float]]:
        """Fractional coordinates, in [0, 1), of the sites and their symmetry mates."""
        return [[round(x % 1, 4) % 1 for x in operation.apply_to_xyz(list(site))]
                for site in self.sites for operation in self.grid.spacegroup.operations()]

    @cached_property
    def _spread(self) -> tuple[float, float]:
        return float(self.grid.array.mean()), float(self.grid.array.std())


@dataclass(frozen=True)
class Picture:
    """A drawing: its title, a description for those who cannot see it, and its PNG file."""

    title: str
    alt: str
    content: bytes

    @property
    def uri(self) -> str:
        """Data URI for the ``src`` of an <img>."""
        return data_uri(self.content, "png")


def data_uri(content: bytes, kind: str) -> str:
    """Data URI of a picture, ``kind`` as in its MIME type."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True)
class Section:
    """A plane of grid points parallel to two cell axes (0, 1, 2 = a, b, c).

    ``horizontal`` is the longer of the two; ``fraction`` is the place along ``normal``, in [0, 1).
    """

    normal: int
    horizontal: int
    vertical: int
    fraction: float

    @property
    def title(self) -> str:
        """Which plane it is, for example ``Plane of a and b at z = 0.250``."""
        one, two = sorted(AXIS_NAMES[axis] for axis in (self.horizontal, self.vertical))
        return f"Plane of {one} and {two} at {FRACTION_NAMES[self.normal]} = {self.fraction:.3f}"

    def points(self, values: np.ndarray) -> np.ndarray:
        """Values (n_vertical + 1, n_horizontal + 1) of those (nu, nv, nw) of the whole cell: the first
        row and column come again."""
        index = round(self.fraction * values.shape[self.normal]) % values.shape[self.normal]
        plane = np.take(values, index, axis=self.normal)
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
        sections.append(Section(normal, horizontal, vertical, index / grid.shape[normal]))
    return sections


def sections_of(layers: Sequence[Layer]) -> list[Section]:
    """The sections in which the mask of the last layer, or else its density, tells most."""
    last = layers[-1]
    return telling_sections(last.grid if last.mask is None else last.mask)


def section_picture(section: Section, layer: Layer) -> Picture:
    """A section of a map in its true shape, the first axis to the right and the second one up, with
    the outline of the mask, and circles where spheres round the sites meet the section."""
    matrix = section.to_angstrom(layer.grid.unit_cell)
    corners = matrix @ np.array([[0, 1, 1, 0], [0, 0, 1, 1]])
    extent = np.ptp(corners, axis=1)
    width = round(_WIDTH * min(1, _HIGHEST * extent[0] / extent[1]))
    step = extent[0] / width
    x = corners[0].min() + step * (np.arange(width) + 0.5)
    y = step * (np.arange(round(extent[1] / step))[::-1] + 0.5)
    place = np.tensordot(np.linalg.inv(matrix), np.meshgrid(x, y), axes=1)
    low, high = DENSITY_LIMITS if layer.kind == "density" else (0, 1)
    seen = layer.in_units(_interpolated(section.points(layer.grid.array), place))
    level = np.clip((seen - low) / (high - low), 0, 1) * (_LEVELS - 1)
    share = np.zeros(level.shape)
    if layer.mask is not None:
        share = _nearness(_interpolated(section.points(layer.mask.array), place))
    pixels = 1 + level.round() * _SHARES + (share * (_SHARES - 1)).round()
    palette = _palette(_INK[layer.kind])
    for centre, radius in _circles(section, layer):
        distance = np.hypot(x - centre[0], y[:, None] - centre[1])
        pixels[np.abs(distance - radius) < _LINE * step] = len(palette) - 1
    inside = np.all((place >= 0) & (place <= 1), axis=0)
    content = _png(np.where(inside, pixels, 0), palette)
    return Picture(layer.name, f"{layer.name}. {section.title}", content)


def _circles(section: Section, layer: Layer) -> Iterator[tuple[np.ndarray, float]]:
    """Centre, in the plane of a section, and radius of the circle of each site near it, Angstrom."""
    cell = layer.grid.unit_cell
    thickness = 1 / cell.reciprocal().parameters[section.normal]
    for place in layer.places:
        away = place[section.normal] - section.fraction
        distance = abs(away - round(away)) * thickness
        if distance <= _SITE_RADIUS:
            yield (section.to_angstrom(cell) @ [place[section.horizontal], place[section.vertical]],
                   max(np.sqrt(_SITE_RADIUS**2 - distance**2), _LEAST_RADIUS))


def _interpolated(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Values at fractions (2, rows, columns) along the horizontal and the vertical axis."""
    rows, columns = np.array(points.shape) - 1
    return map_coordinates(points, (place[1] * rows, place[0] * columns), order=1, mode="nearest")


def _nearness(mask: np.ndarray) -> np.ndarray:
    """How far each pixel is within the line where an interpolated mask is 1/2, 0 to 1."""
    slope = np.hypot(*np.gradient(mask))
    return np.clip(_LINE + 0.5 - np.abs(mask - 0.5) / np.maximum(slope, 1e-6), 0, 1)


def _palette(ink: tuple[int, int, int]) -> np.ndarray:
    """Colours (n, 3) of pixels; the first is transparent, the last that of sites."""
    level = np.linspace(0, 1, _LEVELS)[:, None, None]
    share = np.linspace(0, 1, _SHARES)[None, :, None]
    colour = (1 - level) * np.array(_PAPER) + level * np.array(ink)
    mixed = (1 - share) * colour + share * np.array(_OUTLINE)
    return np.concatenate([[_PAPER], mixed.reshape(-1, 3), [_SITE]]).round().astype(np.uint8)


def _png(pixels: np.ndarray, palette: np.ndarray) -> bytes:
    """A PNG file of numbers (rows, columns) in a palette (n, 3), whose first colour is transparent."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows, columns = pixels.shape
    lines = np.pad(pixels.astype(np.uint8), ((0, 0), (1, 0)))  # each begins with its filter: none
    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
        chunk(b"PLTE", palette.tobytes()), chunk(b"tRNS", b"\0"),
        chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)), chunk(b"IEND", b"")])
