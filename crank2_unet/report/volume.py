"""Maps as the section browser of the report takes them: compact, for a few lines of JavaScript.

Each map is stored as one byte for each symmetry orbit of its grid, in the order in which the first
points of the orbits come in the grid; ``page.js`` finds the orbits anew by the operations.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import gemmi
import numpy as np

from ..crystal.grids import empty_grid, like, resample
from .figures import AXIS_NAMES, DENSITY_LIMITS, FRACTION_NAMES, Layer, sections_of

_MOST_BYTES = 1_000_000  # of all maps of a report; a third more as text
_MOST_POINTS = 4_000_000  # of one map in the memory of the browser
_FINER = 1.1  # growth of the distance between points until the maps are small enough
# what a byte stands for, first and last: a mask needs no more than its own two values
_RANGE = {"density": (-2.0, 8.0), "probability": (0.0, 1.0)}
_SHOWN = {"density": DENSITY_LIMITS, "probability": (0.0, 1.0)}


def browser_data(layers: Sequence[Layer]) -> dict:
    """What ``page.js`` reads, as JSON; ``layers`` are maps of one cell."""
    grid = _coarse_grid(layers)
    maps: list[dict] = []
    stored: dict[int, int] = {}

    def number(layer: Layer, source: gemmi.FloatGrid) -> int:
        if id(source) not in stored:
            stored[id(source)] = len(maps)
            seen, limits = resample(source, _of_group(grid, source)), (0.0, 1.0)
            if source is layer.grid:
                seen, limits = like(seen, layer.in_units(seen.array)), _RANGE[layer.kind]
            maps.append(_packed(seen, limits))
        return stored[id(source)]

    shown = [{"name": layer.name, "kind": layer.kind, "range": _RANGE[layer.kind],
              "shown": _SHOWN[layer.kind],
              "map": number(layer, layer.grid),
              "mask": None if layer.mask is None else number(layer, layer.mask),
              "sites": layer.places}
             for layer in layers]
    cell = grid.unit_cell
    planes = [{"normal": section.normal, "horizontal": section.horizontal,
               "vertical": section.vertical, "names": [AXIS_NAMES[section.normal],
                                                       FRACTION_NAMES[section.normal]],
               "start": round(section.fraction * grid.shape[section.normal]),
               "thickness": 1 / cell.reciprocal().parameters[section.normal],
               "matrix": section.to_angstrom(cell).tolist()} for section in sections_of(layers)]
    return {"shape": grid.shape, "lengths": cell.parameters[:3], "maps": maps, "layers": shown,
            "planes": planes}


def _coarse_grid(layers: Sequence[Layer]) -> gemmi.FloatGrid:
    """An empty grid like that of the first layer, but coarse enough."""
    first = layers[0].grid
    maps = len({id(layer.grid) for layer in layers} | {id(layer.mask) for layer in layers} - {id(None)})
    orbits = max(len(first.spacegroup.operations()), 1)
    most = min(_MOST_POINTS, _MOST_BYTES * orbits / maps)
    grid, spacing = first, max(first.spacing)
    while grid.point_count > most:
        spacing *= _FINER
        grid = empty_grid(first.unit_cell, first.spacegroup, spacing)
    return grid


def _of_group(grid: gemmi.FloatGrid, source: gemmi.FloatGrid) -> gemmi.FloatGrid:
    """A grid like ``grid`` with the symmetry of ``source``."""
    out = gemmi.FloatGrid(*grid.shape)
    out.set_unit_cell(grid.unit_cell)
    out.spacegroup = source.spacegroup
    return out


def _packed(grid: gemmi.FloatGrid, limits: tuple[float, float]) -> dict:
    low, high = limits
    numbers = gemmi.FloatGrid(*grid.shape)
    numbers.spacegroup = grid.spacegroup
    count = np.arange(grid.point_count, dtype=np.float32).reshape(grid.shape)  # exact to 16 million
    numbers.array[:] = count
    numbers.symmetrize_min()
    values = grid.array[numbers.array == count]
    bytes_ = np.clip((values - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    return {"operations": [_on_grid(op, grid.shape) for op in grid.spacegroup.operations()],
            "values": base64.b64encode(bytes_.tobytes()).decode()}


def _on_grid(operation: gemmi.Op, shape: Sequence[int]) -> list[list[int]]:
    """Rows of an operation on grid points: three factors, and the shift in points."""
    rows = []
    for i in range(3):
        factors = [operation.rot[i][j] * shape[i] // (gemmi.Op.DEN * shape[j]) for j in range(3)]
        rows.append([*factors, operation.tran[i] * shape[i] // gemmi.Op.DEN])
    return rows
