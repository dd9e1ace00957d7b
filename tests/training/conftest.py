"""Tests of the part that trains and evaluates networks, which needs the extra train."""

import csv
import gzip
from importlib.util import find_spec

import pytest
from peptide import CELLS, toy

SPLITS = {"aaaa": "train", "bbbb": "train", "cccc": "excluded", "huge": "train"}
MISSING = [name for name in ("dask", "keras", "onnx", "onnxruntime", "tensorflow")
           if find_spec(name) is None]


class LeftOut(pytest.File):
    """A file of tests that cannot be imported."""

    def collect(self):
        pytest.skip(f"the extra train is not installed: no {', '.join(MISSING)}")


def pytest_pycollect_makemodule(module_path, parent):
    return LeftOut.from_parent(parent, path=module_path) if MISSING else None


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
