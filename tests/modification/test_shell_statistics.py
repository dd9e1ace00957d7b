"""Statistics by resolution: the right reflections in the right shell, nothing from too few."""

from types import SimpleNamespace

import gemmi
import numpy as np
import pytest

from crank2_unet.crystal.observations import PhasedData
from crank2_unet.crystal.phases import angle_degrees, to_complex
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.modification.shell_statistics import shell_statistics


@pytest.fixture
def data():
    r = Reflections(gemmi.UnitCell(50, 50, 60, 90, 90, 90), gemmi.SpaceGroup("P 21 21 21"), 2.8)
    random = np.random.default_rng(1)
    f = random.rayleigh(100, len(r))
    f[::10] = np.nan
    phi = np.where(r.centric, r.allowed_phase, random.uniform(0, 360, len(r)))
    return PhasedData(r, f, f / 20, np.zeros((len(r), 4)), to_complex(np.nan_to_num(f), phi))


def test_each_kind_has_its_own_mean(data):
    r = data.reflections
    phi = angle_degrees(data.coefficients) + np.where(r.centric, 180, 30)
    rows = shell_statistics(data, phi, np.where(r.centric, 0.3, 0.6))
    assert len(rows) > 1 and all(row["d_max"] > row["d_min"] for row in rows)
    counted = sum(row[kind]["n"] for row in rows for kind in ("acentric", "centric"))
    assert counted == np.isfinite(data.f).sum()
    for row in rows:
        assert (row["acentric"]["fom"], row["acentric"]["phase_change"]) == pytest.approx((0.6, 30))
        assert (row["centric"]["fom"], row["centric"]["phase_change"]) == pytest.approx((0.3, 180))
        assert "sigma_a" not in row and "free_correlation" not in row


def test_held_back_amplitudes_are_judged_apart(data):
    n, random = len(data.f), np.random.default_rng(2)
    held_back = np.isfinite(data.f) & (random.random(n) < 0.1)
    weighted = SimpleNamespace(sigma_a=np.full(n, 0.7))
    control = SimpleNamespace(f_calc=np.where(held_back, random.rayleigh(100, n), data.f))
    rows = shell_statistics(data, np.zeros(n), np.zeros(n), weighted, control, held_back)
    for row in rows:
        assert row["work_correlation"] == pytest.approx(1) and row["sigma_a"] == pytest.approx(0.7)
        assert abs(row["free_correlation"]) < 0.5
    few = np.zeros(n, bool)
    few[np.flatnonzero(np.isfinite(data.f))[:10]] = True
    assert all(row["free_correlation"] is None for row in
               shell_statistics(data, np.zeros(n), np.zeros(n), weighted, control, few))
