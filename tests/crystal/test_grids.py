"""Maps keep symmetry, origin and values."""

import gemmi
import numpy as np
import pytest
from crystals import SETTINGS, crystal, random_coefficients

from crank2_unet.crystal.grids import (
    asymmetric_unit,
    density_map,
    empty_grid,
    like,
    structure_factors,
)
from crank2_unet.crystal.reflections import spacegroup_of


@pytest.mark.parametrize("symbol", SETTINGS)
def test_map_and_back(symbol):
    """Allowed phases, epsilon and symmetry are right: only then does the map give them back."""
    reflections = crystal(symbol)
    coefficients = random_coefficients(reflections)
    density = density_map(reflections, coefficients, 1.3)
    assert np.abs(structure_factors(density, reflections) - coefficients).max() < 1e-3
    variance = np.sum(reflections.multiplicity * np.abs(coefficients) ** 2)
    # Parseval; centring multiplies the number of operators, not the number of lattice points
    assert density.array.var() * density.unit_cell.volume**2 == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize("symbol", SETTINGS)
def test_one_point_of_each_orbit(symbol):
    grid = empty_grid(gemmi.UnitCell(*SETTINGS[symbol]), spacegroup_of(symbol, "test"), 2.0)
    marks = like(grid, asymmetric_unit(grid))
    marks.symmetrize_sum()
    # an orbit on a special position is met several times by the operators: never 0
    assert marks.array.min() == 1
