"""Permitted origins, by structure factors of moved structures and by textbook counts."""

import gemmi
import numpy as np
import pytest
from crystals import SETTINGS, crystal, random_coefficients

from crank2_unet.crystal.origins import best_shift, permitted_shifts, shifted
from crank2_unet.crystal.phases import map_correlation

# International Tables A, chapter 2.1.3: number of permitted origins, polar directions
KNOWN = {"P 1": (1, 3), "P 1 21 1": (4, 1), "C 1 2 1": (2, 1), "I 1 2 1": (2, 1), "P 21 21 21": (8, 0),
         "F 2 2 2": (4, 0), "P 4": (2, 1), "P 43 21 2": (4, 0), "P 3": (3, 1), "P 3 1 2": (6, 0),
         "P 3 2 1": (2, 0), "P 61": (1, 1), "P 61 2 2": (2, 0), "R 3:H": (1, 1), "R 3:R": (1, 1),
         "R 3 2:H": (2, 0), "I 2 3": (1, 0), "P 2 3": (2, 0), "F 4 3 2": (2, 0)}


@pytest.mark.parametrize("symbol", KNOWN)
def test_number_of_origins(symbol):
    shifts, polar = permitted_shifts(gemmi.SpaceGroup(symbol))
    assert (len(shifts), len(polar)) == KNOWN[symbol] and not shifts[0].any()


@pytest.mark.parametrize("symbol", SETTINGS)
def test_a_moved_map_is_found(symbol):
    reflections = crystal(symbol, 3.5)
    shifts, polar = permitted_shifts(reflections.spacegroup)
    rng = np.random.default_rng(2)
    true = random_coefficients(reflections, 1)
    noisy = true + 0.7 * random_coefficients(reflections, 2)
    shift = shifts[-1] + rng.uniform(0, 1, len(polar)) @ polar
    moved = shifted(noisy, reflections, shift)
    if not polar.size:  # a permitted shift keeps centric phases where they may be
        allowed = np.rad2deg(np.angle(moved)) - reflections.allowed_phase
        assert np.nanmax(abs((allowed + 90) % 180 - 90)) < 1e-3
    back = shifted(moved, reflections, best_shift(moved, true, reflections))
    cc = map_correlation(noisy, true, reflections.multiplicity)
    assert map_correlation(back, true, reflections.multiplicity) > cc - 0.001
