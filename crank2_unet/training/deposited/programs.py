"""Substructures and phases by other programs, such as those of CCP4 with Crank2, as commands."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from ...crystal.observations import AnomalousData
from ...errors import ProgramError
from ...files.coordinates import read_sites
from ...files.mtz_input import read_phased
from ...sad.friedel import mean_amplitude
from ..commands import Command, run_program, write_data

_COMMON = {
    "data": "MTZ file with F, SIGF, F(+), SIGF(+), F(-), SIGF(-) and the wavelength",
    "sequence": "sequence file, each chain that differs once",
    "element": "symbol of the anomalous scatterer",
    "wavelength": "Angstrom",
    "folder": "empty folder",
}
SUBSTRUCTURE = {**_COMMON, "output": "PDB file to be written; none if there is no solution"}
PHASING = {**_COMMON, "sites": "PDB file of the sites, in the right hand",
           "output": "MTZ file to be written, with Hendrickson-Lattman coefficients, or phases and "
                     "figures of merit"}
# of the deposited atoms: a substructure with so many of them is correct (paper)
CORRECT = 1 / 3


@dataclass(frozen=True)
class Programs:
    """What finds substructures and what phases; nothing: the deposited sites, ``crank2-unet phase``.

    Parameters
    ----------
    substructure : commands with the placeholders ``SUBSTRUCTURE``, run in turn until one finds a
        correct substructure; if none does, the deposited one is taken.
    phasing : command with the placeholders ``PHASING``.

    Raises
    ------
    InputError : a command cannot be read.
    """

    substructure: tuple[str, ...] = ()
    phasing: str | None = None

    def __post_init__(self):
        for text in self.substructure:
            Command(text, SUBSTRUCTURE)
        if self.phasing:
            Command(self.phasing, PHASING)


CRANK2_UNET = Programs()


@dataclass(frozen=True)
class Experiment:
    """What programs are told of an entry.

    Parameters
    ----------
    data : Friedel mates.
    element, wavelength : of the anomalous scatterer; Angstrom.
    sequences : of chains, one-letter codes.
    """

    data: AnomalousData
    element: str
    wavelength: float
    sequences: list[str]

    @contextmanager
    def _given(self) -> Iterator[dict[str, str]]:
        """Values of the common placeholders; the files are gone afterwards."""
        d, centric, (f, sigf) = self.data, self.data.reflections.centric, mean_amplitude(self.data)
        columns = {"F": ("F", f), "SIGF": ("Q", sigf),
                   "F(+)": ("G", d.f_plus), "SIGF(+)": ("L", d.sigf_plus),
                   "F(-)": ("G", np.where(centric, d.f_plus, d.f_minus)),
                   "SIGF(-)": ("L", np.where(centric, d.sigf_plus, d.sigf_minus))}
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            (place / "folder").mkdir()
            write_data(place / "data.mtz", d.reflections, columns, self.wavelength)
            (place / "sequence.fasta").write_text("".join(
                f">{number}\n{letters}\n" for number, letters in enumerate(self.sequences, 1)))
            yield {"data": str(place / "data.mtz"), "sequence": str(place / "sequence.fasta"),
                   "element": self.element, "wavelength": f"{self.wavelength:g}",
                   "folder": str(place / "folder")}

    def find_sites(self, command: str) -> gemmi.Structure | None:
        """The substructure that a command finds; None if it finds none.

        Raises
        ------
        ProgramError : it fails.
        InputError : it writes what is no substructure of this crystal.
        """
        with self._given() as values:
            output = Path(values["folder"]).with_name("sites.pdb")
            run_program(Command(command, SUBSTRUCTURE).words({**values, "output": str(output)}),
                        Path(values["folder"]))
            return read_sites(output, self.data.reflections) if output.exists() else None

    def phase(self, command: str, sites: gemmi.Structure) -> np.ndarray:
        """The phases that a command gives: Hendrickson-Lattman coefficients (n, 4).

        Raises
        ------
        ProgramError : it fails, or writes nothing.
        InputError : it writes what are no phases of this crystal.
        """
        with self._given() as values:
            place = Path(values["folder"]).parent
            output = place / "phases.mtz"
            sites.write_pdb(str(place / "sites.pdb"))
            run_program(Command(command, PHASING).words({
                **values, "sites": str(place / "sites.pdb"), "output": str(output)}),
                Path(values["folder"]))
            if not output.exists():
                raise ProgramError(f"{command} has not written {{output}}.")
            found = read_phased(output).data
        return self.data.reflections.spread(found.reflections.hkl, found.hl, fill=0.0)
