"""Tests of the part that trains and evaluates networks, which needs the extra train."""

import csv
import gzip
from importlib.util import find_spec

import pytest
from measured import write_measured
from peptide import CELLS, toy
from prepared import toy_card, write_prepared

SPLITS = {"aaaa": "train", "bbbb": "train", "cccc": "excluded", "huge": "train"}
MISSING = [name for name in ("dask", "keras", "onnx", "onnxruntime", "tensorflow")
           if find_spec(name) is None]


class LeftOut(pytest.File):
    """A file of tests that cannot be imported."""

    def collect(self):
        pytest.skip(f"the extra train is not installed: no {', '.join(MISSING)}")


def pytest_pycollect_makemodule(module_path, parent):
    return LeftOut.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture(scope="session")
def measured_set(tmp_path_factory):
    """See :func:`measured.write_measured`."""
    return write_measured(tmp_path_factory.mktemp("sad") / "toy")


@pytest.fixture(scope="session")
def toy_net(tmp_path_factory):
    """Card of a toy network."""
    folder = tmp_path_factory.mktemp("net")
    return toy_card(folder, [write_prepared(folder, code) for code in ("aaaa", "bbbb")])


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
