"""Prepared training files: complete, reproducible, resumable, never of excluded structures."""

import csv
import gzip
import json

import numpy as np
import pytest

pytest.importorskip("dask.distributed", reason="preparation runs through Dask")

from test_simulation import peptide

from crank2_unet.errors import InputError
from crank2_unet.grids import density_map, empty_grid
from crank2_unet.masks import model_mask
from crank2_unet.training.dataset import PreparedStructure
from crank2_unet.training.prepare import prepare, prepare_structure

CELLS = {"aaaa": (40, 50, 60, 90, 90, 90), "bbbb": (44, 46, 52, 90, 90, 90),
         "cccc": (42, 48, 55, 90, 90, 90), "huge": (400, 400, 400, 90, 90, 90)}
SPLITS = {"aaaa": "train", "bbbb": "train", "cccc": "excluded", "huge": "train"}


def toy(code):
    return peptide(n_residues=36, cell=CELLS[code])


@pytest.fixture
def collection(tmp_path):
    """An index and a folder of coordinates."""
    rows = []
    for code, cell in CELLS.items():
        structure = toy(code)
        with gzip.open(tmp_path / f"{code}.cif.gz", "wt") as file:
            file.write(structure.make_mmcif_document().as_string())
        rows.append({"code": code, "split": SPLITS[code], "resolution": 2.0, "solvent": 0.6,
                     "n_residues": 36, **dict(zip(("a", "b", "c", "al", "be", "ga"), cell))})
    with open(tmp_path / "index.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def row_of(collection, code):
    with open(collection / "index.csv", newline="") as file:
        return next(row for row in csv.DictReader(file) if row["code"] == code)


def test_arrays_describe_the_crystal(collection):
    path = collection / "aaaa.cif.gz"
    arrays = prepare_structure(row_of(collection, "aaaa"), path, variant=0, seed=1,
                               later_cycles=2)
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


def test_content_depends_on_seed_code_and_variant_only(collection):
    path, row = collection / "aaaa.cif.gz", row_of(collection, "aaaa")
    first, again = (prepare_structure(row, path, 0, 1, 0) for _ in range(2))
    np.testing.assert_array_equal(first["coefficients"], again["coefficients"])
    for other in (prepare_structure(row, path, 1, 1, 0), prepare_structure(row, path, 0, 2, 0)):
        assert other["settings"] != first["settings"]


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


@pytest.mark.parametrize("split", ["excluded", "validation"])
def test_split_that_must_not_or_cannot_be_used(collection, split):
    with pytest.raises(InputError, match=split):
        prepare(collection / "index.csv", collection, collection / "out", split=split)
