"""Command line, keywords and MTZ files, as the stand-ins need them."""

import sys
from dataclasses import dataclass, field

import gemmi
import numpy as np


def arguments() -> dict:
    """``NAME value`` pairs of the command line, names in upper case."""
    words = sys.argv[1:]
    return {name.upper(): value for name, value in zip(words[::2], words[1::2])}


def keywords() -> list[list[str]]:
    """Lines of standard input, each split at blanks."""
    return [line.split() for line in sys.stdin if line.strip()]


def assignments(lines: list[list[str]], keyword: str) -> dict:
    """``A=B`` pairs of all lines of a keyword."""
    return dict(word.split("=", 1) for line in lines if line[0].upper() == keyword
                for word in line[1:] if "=" in word)


@dataclass
class Column:
    kind: str
    crystal: str
    dataset: str
    wavelength: float
    values: np.ndarray


@dataclass
class Table:
    """The rows and columns of an MTZ file."""

    cell: gemmi.UnitCell
    spacegroup: gemmi.SpaceGroup
    hkl: np.ndarray
    columns: dict = field(default_factory=dict)

    @classmethod
    def read(cls, path, labels=()):
        mtz = gemmi.read_mtz_file(str(path))
        table = cls(mtz.cell, mtz.spacegroup, mtz.make_miller_array())
        for column in list(mtz.columns)[3:]:
            if not labels or column.label in labels:
                d = mtz.dataset(column.dataset_id)
                table.columns[column.label] = Column(column.type, d.crystal_name, d.dataset_name,
                                                     d.wavelength, column.array.astype(float))
        missing = set(labels) - set(table.columns)
        if missing:
            sys.exit(f"{path} has no column {missing}")
        return table

    def join(self, other):
        """All rows of both, with the columns of both."""
        hkl = np.unique(np.concatenate([self.hkl, other.hkl]), axis=0)
        for table in (self, other):
            table.rows(hkl)
        self.columns.update(other.columns)

    def rows(self, hkl):
        """Lay the columns out over other rows."""
        place = {tuple(h): i for i, h in enumerate(self.hkl)}
        index = np.array([place.get(tuple(h), -1) for h in hkl])
        for column in self.columns.values():
            column.values = np.where(index < 0, np.nan, column.values[index])
        self.hkl = hkl

    def d(self):
        return self.cell.calculate_d_array(self.hkl)

    def write(self, path, chosen=slice(None)):
        mtz = gemmi.Mtz(with_base=True)
        mtz.spacegroup = self.spacegroup
        mtz.set_cell_for_all(self.cell)
        known = {}
        for label, column in self.columns.items():
            name = column.crystal, column.dataset
            if name not in known:
                known[name] = dataset = mtz.add_dataset(column.dataset)
                dataset.crystal_name, dataset.wavelength = column.crystal, column.wavelength
            mtz.add_column(label, column.kind, dataset_id=known[name].id)
        mtz.set_cell_for_all(self.cell)
        data = np.column_stack([self.hkl, *(c.values for c in self.columns.values())])
        mtz.set_data(data[chosen].astype(np.float32))
        mtz.sort()
        mtz.write_to_file(str(path))
