"""Operators of non-crystallographic symmetry, and how a map refines them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gemmi
import numpy as np
from scipy.ndimage import map_coordinates, spline_filter
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from ..crystal.grids import grid_steps
from ..errors import InputError


@dataclass(frozen=True)
class Operator:
    """x' = rotation (x - source) + target, orthogonal coordinates in Angstrom.

    Parameters
    ----------
    rotation : (3, 3) proper rotation.
    source, target : (3,) a point of one copy and where it goes, near the middle of the copies.
    """

    rotation: np.ndarray
    source: np.ndarray
    target: np.ndarray

    @classmethod
    def parse(cls, text: str) -> Operator:
        """From "alpha,beta,gamma,x,y,z,x,y,z": Euler angles in degrees (turn by gamma about z, by beta
        about y, by alpha about z), source and target.

        Raises
        ------
        InputError : not nine numbers.
        """
        try:
            values = [float(word) for word in text.replace(",", " ").split()]
        except ValueError:
            values = []
        if len(values) != 9:
            raise InputError(f"The NCS operator {text} must be nine numbers: "
                             "alpha,beta,gamma,x,y,z,x,y,z.")
        rotation = Rotation.from_euler("ZYZ", values[:3], degrees=True).as_matrix()
        return cls(rotation, np.array(values[3:6]), np.array(values[6:]))

    def __str__(self) -> str:
        angles = Rotation.from_matrix(self.rotation).as_euler("ZYZ", degrees=True)
        return ",".join(f"{value:.4f}" for value in (*angles, *self.source, *self.target))

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 3) go."""
        return points @ self.rotation.T + (self.target - self.rotation @ self.source)

    def inverse(self) -> Operator:
        return Operator(self.rotation.T, self.target, self.source)

    def moved(self, turn: np.ndarray, shift: np.ndarray) -> Operator:
        """With a further rotation (rotation vector, radians) about the target, and shift, Angstrom."""
        return Operator(Rotation.from_rotvec(turn).as_matrix() @ self.rotation, self.source,
                        self.target + shift)


class PeriodicMap:
    """A map with cubic interpolation anywhere in the crystal.

    Parameters
    ----------
    grid : its values.
    """

    def __init__(self, grid: gemmi.FloatGrid):
        self._spline = spline_filter(grid.array, order=3, mode="grid-wrap", output=np.float32)
        self._to_index = np.linalg.inv(grid_steps(grid))

    def at(self, points: np.ndarray) -> np.ndarray:
        """Values at orthogonal coordinates (m, 3)."""
        return map_coordinates(self._spline, self._to_index @ points.T, order=3, mode="grid-wrap",
                               prefilter=False)


def refined(operator: Operator, points: np.ndarray, density: PeriodicMap, step: tuple[float, float],
            weight: np.ndarray | None = None) -> Operator:
    """The operator nearby by which densities at points and where it brings them correlate best.

    Parameters
    ----------
    operator : to start from; the source of the result is the middle of the points.
    points : (m, 3) orthogonal Angstrom.
    density : map.
    step : degrees and Angstrom, of the first steps of the search.
    weight : (m,) of the points; default: all alike.
    """
    weight = np.ones(len(points)) if weight is None else weight
    centre = np.average(points, axis=0, weights=weight)
    operator = replace(operator, source=centre, target=operator.apply(centre))
    unit = np.repeat([np.deg2rad(step[0]), step[1]], 3)
    values = density.at(points)

    def moved(steps: np.ndarray) -> Operator:
        return operator.moved(*np.split(steps * unit, 2))

    def cost(steps: np.ndarray) -> float:
        return -weighted_correlation(values, density.at(moved(steps).apply(points)), weight)
    simplex = np.vstack([np.zeros(6), np.eye(6)])
    found = minimize(cost, np.zeros(6), method="Nelder-Mead",
                     options={"initial_simplex": simplex, "maxfev": 200, "xatol": 0.01, "fatol": 1e-4})
    return moved(found.x)


def weighted_correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    """Correlation, -1..1, of values (m,) with weights (m,); 0 if they do not vary."""
    a, b = (values - np.average(values, weights=weight) for values in (a, b))
    norm = np.sqrt((weight @ a**2) * (weight @ b**2))
    return float(weight @ (a * b) / norm) if norm > 0 else 0.0
