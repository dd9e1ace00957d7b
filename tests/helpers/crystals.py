"""Small crystals with random structure factors, for tests."""

import gemmi
import numpy as np

from crank2_unet.crystal.phases import to_complex
from crank2_unet.crystal.reflections import Reflections, spacegroup_of

# one of each lattice and the settings that programs get wrong
SETTINGS = {
    "P 1": (31, 37, 43, 81, 95, 104),
    "P 1 21 1": (41, 52, 37, 90, 103, 90),
    "C 1 2 1": (61, 43, 52, 90, 112, 90),
    "I 1 2 1": (61, 43, 52, 90, 98, 90),
    "P 21 21 21": (34, 55, 68, 90, 90, 90),
    "P 43 21 2": (58, 58, 81, 90, 90, 90),
    "P 61 2 2": (64, 64, 92, 90, 90, 120),
    "R 3:H": (66, 66, 71, 90, 90, 120),
    "R 3:R": (47, 47, 47, 83, 83, 83),
    "I 2 3": (71, 71, 71, 90, 90, 90),
    "F 4 3 2": (93, 93, 93, 90, 90, 90),
}


def crystal(symbol: str, d_min: float = 4.0) -> Reflections:
    return Reflections(gemmi.UnitCell(*SETTINGS[symbol]), spacegroup_of(symbol, "test"), d_min)


def random_coefficients(reflections: Reflections, seed: int = 0) -> np.ndarray:
    """Acentric and centric structure factors of a Wilson-like crystal."""
    rng = np.random.default_rng(seed)
    size = len(reflections)
    flip = np.where(rng.random(size) < 0.5, 0.0, 180.0)
    phi = np.where(reflections.centric, np.nan_to_num(reflections.allowed_phase) + flip,
                   rng.uniform(0, 360, size))
    return to_complex(np.sqrt(reflections.epsilon * rng.exponential(100.0, size)), phi)
