"""Prepared training files: complete, reproducible, resumable, never of excluded structures."""

import json
import zlib
from dataclasses import replace

import gemmi
import numpy as np
import pytest
from peptide import peptide, row_of, toy
from prepared import write_prepared

from crank2_unet.crystal.filters import local_deviation, soften
from crank2_unet.crystal.grids import density_map, empty_grid, like, structure_factors
from crank2_unet.crystal.masks import cut_at_fraction, model_mask
from crank2_unet.crystal.model_factors import atomic_structure_factors
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.errors import InputError
from crank2_unet.sad.phasing import other_hand
from crank2_unet.simulation.experiment import simulate_sad
from crank2_unet.simulation.random_settings import random_settings
from crank2_unet.training.preparation.prepare import enantiomorphic_factors, prepare, prepare_structure
from crank2_unet.training.preparation.prepared import PreparedStructure


def test_arrays_describe_the_crystal(collection):
    path = collection / "aaaa.cif.gz"
    arrays = prepare_structure(row_of(collection, "aaaa"), path, variant=0, seed=1,
                               later_cycles=2, overconfident=0)
    with open(collection / "one.npz", "wb") as file:
        np.savez(file, **arrays)
    read = PreparedStructure.read(collection / "one.npz")
    n = len(read.data.reflections)
    assert read.coefficients.shape == (len(read.cycle), n) and read.data.hl.shape == (n, 4)
    truth = model_mask(toy("aaaa"), empty_grid(read.truth.unit_cell, read.truth.spacegroup, 1.0))
    np.testing.assert_array_equal(read.truth.array, truth.array)
    assert arrays["solvent_mask"] == pytest.approx(truth.array.mean())
    assert json.loads(arrays["settings"])["d_min"] == read.data.reflections.d_min
    assert read.cycle[0] == 0 and (read.cycle[1:] > 0).all() and len(read.cycle) == 3
    assert (arrays["phase_error"] < 89).all() and (arrays["map_cc"] > 0.05).all()
    unmeasured = np.isnan(read.data.f)
    assert (read.coefficients[0][unmeasured] == 0).all() and unmeasured.any()
    # the map's strong density lies in the true molecule
    density = density_map(read.data.reflections, read.coefficients[0], 1.0)
    assert density.shape == truth.shape
    assert (density.array[truth.array == 0] ** 2).mean() > (density.array ** 2).mean()


def test_later_maps_are_of_different_cycles_and_hold_nothing_filled_in(collection):
    row, path = row_of(collection, "aaaa"), collection / "aaaa.cif.gz"
    arrays = prepare_structure(row, path, 0, 1, later_cycles=6, overconfident=0)
    assert sorted(arrays["map_cycle"]) == [0, 1, 2, 3, 4, 5, 6]
    unmeasured = np.isnan(arrays["f"])
    assert unmeasured.any() and not arrays["coefficients"][:, unmeasured].any()
    with pytest.raises(InputError, match="7 maps of later cycles"):
        prepare(collection / "index.csv", collection, collection / "out", later_cycles=7)


def test_overconfident_maps_claim_more_and_are_drawn_to_the_sites(collection):
    row, path = row_of(collection, "aaaa"), collection / "aaaa.cif.gz"
    arrays = prepare_structure(row, path, 0, 1, 1, overconfident=2)
    plain = prepare_structure(row, path, 0, 1, 1, overconfident=0)
    kept = slice(len(plain["map_cycle"]))
    for name in ("coefficients", "fom", "phase_error", "map_cycle"):  # nothing else changes
        np.testing.assert_array_equal(arrays[name][kept], plain[name])
    with open(collection / "one.npz", "wb") as file:
        np.savez(file, **arrays)
    read = PreparedStructure.read(collection / "one.npz")
    assert [read.kind(i) for i in range(6)] == ["as phased", "later", *["overconfident", "later"] * 2]
    first, second = arrays["fom"][2], arrays["fom"][4]
    assert first != second and min(first, second) > arrays["fom"][0]
    # later maps are of the phases that claim too much
    assert not np.array_equal(arrays["coefficients"][3], arrays["coefficients"][1])
    rng = np.random.default_rng((1, zlib.crc32(b"aaaa"), 0))
    structure = gemmi.read_structure(str(path))
    structure.resolution = float(row["resolution"])
    sites = simulate_sad(structure, random_settings(structure, rng), rng).sites
    low = read.data.reflections.d > 6
    heavy = atomic_structure_factors(sites, read.data.reflections)[low]

    def drawn(number):
        its = read.coefficients[number][low]
        return np.vdot(heavy, its).real / np.linalg.norm(heavy) / np.linalg.norm(its)
    assert min(drawn(2), drawn(4)) > drawn(0)


def test_content_depends_on_seed_code_and_variant_only(collection):
    path, row = collection / "aaaa.cif.gz", row_of(collection, "aaaa")
    first, again = (prepare_structure(row, path, 0, 1, 0) for _ in range(2))
    np.testing.assert_array_equal(first["coefficients"], again["coefficients"])
    for other in (prepare_structure(row, path, 1, 1, 0), prepare_structure(row, path, 0, 2, 0)):
        assert other["settings"] != first["settings"]


def test_other_hand_is_added_and_nothing_else_changes(collection):
    path, row = collection / "aaaa.cif.gz", row_of(collection, "aaaa")
    one = prepare_structure(row, path, 0, 1, 0)
    both = prepare_structure(row, path, 0, 1, 0, both_hands=True)
    assert set(both) - set(one) == {"other_spacegroup", "other_coefficients", "other_map_cc"}
    assert all(np.array_equal(one[key], both[key], equal_nan=key in ("f", "sigf")) for key in one)
    np.savez(collection / "both.npz", **both)
    read = PreparedStructure.read(collection / "both.npz")
    assert len(read.other_hand.coefficients) == len(read.data.reflections)
    assert read.other_hand.map_cc < read.map_cc[0]  # heavy atoms are alike in both
    assert np.abs(read.phi_true).max() <= 180


@pytest.mark.parametrize("symbol, cell", [("P 41", (50, 50, 60, 90, 90, 90)),
                                          ("I 41", (60, 60, 60, 90, 90, 90))])
def test_enantiomorphic_factors_are_those_of_the_inverted_structure(symbol, cell):
    structure = peptide(n_residues=12, cell=cell)
    structure.spacegroup_hm = symbol
    structure.setup_cell_images()
    group = gemmi.SpaceGroup(symbol)
    reflections = Reflections(structure.cell, group, 3.0)
    inverted, other = other_hand(structure, group)
    inverted.setup_cell_images()
    turned = Reflections(structure.cell, other, 3.0)
    np.testing.assert_array_equal(reflections.hkl, turned.hkl)
    expected = structure_factors_of(inverted, turned)
    found = enantiomorphic_factors(structure_factors_of(structure, reflections), reflections)
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def structure_factors_of(structure, reflections):
    calculator = gemmi.StructureFactorCalculatorX(structure.cell)
    return np.array([calculator.calculate_sf_from_model(structure[0], [int(i) for i in hkl])
                     for hkl in reflections.hkl])


def test_largest_volume(collection):
    arguments = (collection / "index.csv", collection, collection / "out")
    with pytest.raises(InputError, match="at most 1000 cubic"):
        prepare(*arguments, largest_volume=1000)


def test_prepare_resumes_skips_and_reports(collection):
    out = collection / "out"
    (collection / "bbbb.cif.gz").unlink()
    arguments = (collection / "index.csv", collection, out)
    report = prepare(*arguments, variants=2, later_cycles=0, seed=1)
    assert sorted(path.name for path in out.iterdir()) == ["aaaa_0.npz", "aaaa_1.npz"]
    assert report.written == 2 and report.existing == 0
    assert set(report.failures) == {"bbbb_0", "bbbb_1"}
    assert "bbbb.cif.gz" in report.failures["bbbb_0"]
    before = (out / "aaaa_0.npz").stat().st_mtime_ns
    (out / "aaaa_1.npz").unlink()
    report = prepare(*arguments, variants=2, later_cycles=0, seed=1)
    assert report.written == 1 and report.existing == 1
    assert (out / "aaaa_0.npz").stat().st_mtime_ns == before


def test_structures_moved_to_another_split_are_refused(collection):
    (collection / "out").mkdir()
    (collection / "out" / "cccc_0.npz").touch()  # of split excluded
    with pytest.raises(InputError, match='not of split "train", such as cccc_0.npz'):
        prepare(collection / "index.csv", collection, collection / "out")


@pytest.mark.parametrize("split", ["excluded", "validation"])
def test_split_that_must_not_or_cannot_be_used(collection, split):
    with pytest.raises(InputError, match=split):
        prepare(collection / "index.csv", collection, collection / "out", split=split)


def test_flat_mask_leaves_ordered_water_out(tmp_path):
    """It has the volume of the solvent, and density that stands out in the solvent is not flat."""
    structure = PreparedStructure.read(write_prepared(tmp_path, "aaaa"))
    truth, flat = structure.truth.array, structure.flat
    assert flat.array.mean() == pytest.approx(truth.mean(), abs=0.001)
    assert np.corrcoef(flat.array.ravel(), truth.ravel())[0, 1] > 0.5
    calm = np.argmax(soften(structure.truth, 3.0).array * flat.array)
    water = like(structure.truth, np.arange(truth.size).reshape(truth.shape) == calm)
    water.symmetrize_max()
    reflections, density = structure.data.reflections, density_map(
        structure.data.reflections, structure.true_coefficients, 0.8)
    peak = structure_factors(soften(water, 0.8), reflections)
    peak *= 20 * density.array.std() / density_map(reflections, peak, 0.8).array.max()
    wet = structure.true_coefficients + peak
    wetter = replace(structure, data=replace(structure.data, f=np.abs(wet)),
                     phi_true=np.rad2deg(np.angle(wet)))
    assert flat.array.flat[calm] == truth.flat[calm] == 1 and wetter.flat.array.flat[calm] == 0


def test_files_without_their_split_are_refused(tmp_path):
    path = write_prepared(tmp_path, "aaaa")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "split"}
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="too old"):
        PreparedStructure.read(path)


def test_later_maps_can_be_made_with_the_masks_of_a_network(collection, monkeypatch):
    """The network is asked for masks of the maps of all cycles."""
    asked = []

    def weights(data, net, content):
        def found(current, cycle):
            asked.append((net, content, cycle))
            return soften(cut_at_fraction(local_deviation(current.density, 4.0), content), 1.0)
        return found
    monkeypatch.setattr("crank2_unet.training.preparation.prepare.network_weights", weights)
    row, path = row_of(collection, "aaaa"), collection / "aaaa.cif.gz"
    arrays = prepare_structure(row, path, variant=1, seed=1, later_cycles=2, net="net")
    assert len(asked) == arrays["map_cycle"].sum()
    assert {(net, content) for net, content, _ in asked} == {("net", 0.6)}
