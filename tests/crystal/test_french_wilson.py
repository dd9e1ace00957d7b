"""Amplitudes from intensities."""

import gemmi
import numpy as np

from crank2_unet.crystal.french_wilson import french_wilson
from crank2_unet.crystal.reflections import Reflections


def test_french_wilson_follows_strong_and_repairs_negative_intensities():
    reflections = Reflections(gemmi.UnitCell(40, 50, 60, 90, 90, 90), gemmi.SpaceGroup("P 21 21 21"),
                              2.5)
    rng = np.random.default_rng(0)
    true = reflections.epsilon * rng.exponential(1000.0, len(reflections))
    sigma = np.where(rng.random(len(true)) < 0.5, 5.0, 800.0)
    measured = true + sigma * rng.standard_normal(len(true))
    f, sigf = french_wilson(np.stack([measured, sigma], axis=1), reflections).T
    strong = (sigma == 5.0) & (measured > 500)
    assert np.allclose(f[strong], np.sqrt(measured[strong]), rtol=0.01)
    weak = sigma == 800.0
    assert (f[weak] > 0).all()
    naive = np.sqrt(np.maximum(measured[weak], 0))
    assert np.abs(f[weak] - np.sqrt(true[weak])).mean() < np.abs(naive - np.sqrt(true[weak])).mean()
