"""Masks as Parrot takes them, from what ``crank2-unet segment`` has written."""

import gemmi
import numpy as np
import pytest
from crystals import crystal

from crank2_unet.crank2 import handover
from crank2_unet.crystal.filters import soften
from crank2_unet.crystal.grids import empty_grid, like
from crank2_unet.files.maps import read_map, write_map
from crank2_unet.files.mtz import MtzFile
from crank2_unet.files.mtz_input import read_phased
from crank2_unet.files.mtz_output import write_mtz


@pytest.fixture
def folder(tmp_path):
    """Probabilities around a protein in the middle of the asymmetric unit, and coefficients."""
    reflections = crystal("P 21 21 21", 3.0)
    grid = empty_grid(reflections.cell, reflections.spacegroup, 1.0)
    noise = np.random.default_rng(0).normal(size=grid.shape)
    rough = like(grid, noise)
    rough.symmetrize_avg()
    smooth = soften(rough, 4.0).array
    write_map(like(grid, 1 / (1 + np.exp(-4 * smooth / smooth.std()))), tmp_path / handover.FLAT)
    source = gemmi.Mtz(with_base=True)
    source.spacegroup = reflections.spacegroup
    source.set_cell_for_all(reflections.cell)
    source.set_data(reflections.hkl.astype(np.float32))
    source.write_to_file(str(tmp_path / "source.mtz"))
    values = np.ones(len(reflections))
    write_mtz(tmp_path / "mask.mtz", MtzFile(tmp_path / "source.mtz"), reflections,
              {"FMSK": ("F", values), "PHMSK": ("P", values)}, "test")
    return tmp_path


@pytest.mark.parametrize("solvent", [0.391, 0.441, 0.6])
def test_the_weights_have_the_solvent_content_of_the_cycle(folder, solvent):
    path = handover.weights_file(folder, solvent)
    weights = read_map(path)
    assert weights.array.mean() == pytest.approx(solvent, abs=0.002)
    assert 0 <= weights.array.min() and weights.array.max() <= 1
    given = read_map(folder / handover.FLAT)
    assert np.corrcoef(weights.array.ravel(), given.array.ravel())[0, 1] > 0.9  # not inverted


def test_a_file_is_made_once_for_a_map(folder):
    path = handover.weights_file(folder, 0.5)
    path.write_text("kept")
    assert handover.weights_file(folder, 0.5).read_text() == "kept"
    handover.clear(folder)
    assert not path.exists() and (folder / handover.FLAT).exists()
    assert read_map(handover.weights_file(folder, 0.5)).array.mean() == pytest.approx(0.5, abs=0.002)


def test_the_carrier_is_strong_in_the_protein(folder):
    path = handover.carrier_file(folder, 0.5)
    carrier = read_phased(path, need_phases=False)
    assert carrier.labels == {"fc": "FMSK,PHMSK"}
    mtz = gemmi.read_mtz_file(str(path))
    density = mtz.transform_f_phi_to_map("FMSK", "PHMSK", sample_rate=3)
    weights = read_map(handover.weights_file(folder, 0.5))
    points = [density.point_to_position(p) for p in list(density.masked_asu())[::50]]
    strength = np.array([density.interpolate_value(p) ** 2 for p in points])
    solvent = np.array([weights.interpolate_value(p) for p in points])
    assert strength[solvent < 0.3].mean() > 5 * strength[solvent > 0.7].mean()
