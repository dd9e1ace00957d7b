"""How many copies of the macromolecule fit into the crystal, and how probable each number is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import gemmi
import numpy as np
from scipy.constants import N_A

from ..errors import InputError
from .sequences import Sequence, read_sequences

CUBIC_ANGSTROM_PER_DALTON = 1e24 / N_A  # volume of 1 g/mol at a specific volume of 1 cm^3/g
# Partial specific volumes, cm^3/g: Matthews (1968) J. Mol. Biol. 33, 491; nucleic acids as in
# Kantardjieff & Rupp (2003).  The protein's makes the usual solvent = 1 - 1.23/Vm.
PROTEIN_SPECIFIC_VOLUME = 0.74
NUCLEIC_SPECIFIC_VOLUME = 0.50
# Da; C5 H8 N1.35 O1.5 S0.05, the mean residue that CCP4's matthews_coef assumes.
MEAN_RESIDUE_MASS = 112.5

# Kantardjieff & Rupp (2003) Protein Sci. 12, 1865: upper resolution limit (Angstrom), p0, mean Vm,
# w, A, s.  Thirteen rows for proteins, then DNA and protein-DNA complexes at any resolution; the
# means of these two, 64 and 61 % solvent, show which is which (programs differ).
_KANTARDJIEFF_RUPP = np.array([
    (1.199, 0.085, 2.052, 0.213, 28.38, 0.953), (1.501, 0.312, 2.102, 0.214, 102.7, 0.807),
    (1.650, 0.400, 2.122, 0.220, 187.5, 0.775), (1.801, 0.503, 2.132, 0.225, 339.3, 0.702),
    (1.901, 0.597, 2.140, 0.226, 434.1, 0.648), (2.001, 0.729, 2.155, 0.231, 540.5, 0.640),
    (2.201, 1.052, 2.171, 0.236, 686.2, 0.635), (2.401, 1.781, 2.182, 0.241, 767.9, 0.589),
    (2.601, 2.852, 2.191, 0.242, 835.9, 0.584), (2.801, 3.386, 2.192, 0.244, 856.9, 0.542),
    (3.101, 3.841, 2.205, 0.244, 854.0, 0.500), (3.501, 4.281, 2.211, 0.244, 849.6, 0.485),
    (np.inf, 4.592, 2.210, 0.245, 846.7, 0.480),
    (np.inf, 1.503, 2.256, 0.446, 136.6, 1.180), (np.inf, 0.257, 2.324, 0.327, 47.10, 0.466)])
_DNA_ROW, _COMPLEX_ROW = 13, 14


@dataclass(frozen=True)
class Composition:
    """Masses, Da, of the protein and nucleic acid that make up one copy."""

    protein: float
    nucleic: float = 0.0

    @property
    def mass(self) -> float:
        """Mass of one copy, Da."""
        return self.protein + self.nucleic

    @property
    def volume(self) -> float:
        """Volume of one copy without its solvent, cubic Angstrom."""
        return CUBIC_ANGSTROM_PER_DALTON * (PROTEIN_SPECIFIC_VOLUME * self.protein
                                            + NUCLEIC_SPECIFIC_VOLUME * self.nucleic)

    @classmethod
    def given(cls, sequence: str | Path | None, residues: int | None) -> Composition | None:
        """By a file of sequences or, without one, a number of residues; None without either."""
        if sequence:
            return cls.from_file(sequence)
        return cls.from_residues(residues) if residues else None

    @classmethod
    def from_residues(cls, residues: int) -> Composition:
        """A protein of a number of average residues."""
        if residues < 1:
            raise InputError(f"The number of residues is {residues}. Give that of one copy, at "
                             "least 1.")
        return cls(residues * MEAN_RESIDUE_MASS)

    @classmethod
    def from_file(cls, path: str | Path) -> Composition:
        """All sequences of a file (:func:`.sequences.read_sequences`) together: one copy holds each of
        them once.

        Raises
        ------
        InputError : the file cannot be read or has a letter that stands for nothing.
        """
        masses = [_sequence_masses(sequence, path) for sequence in read_sequences(path)]
        return cls(*(float(total) for total in np.sum(masses, axis=0)))


def _sequence_masses(sequence: Sequence, path: str | Path) -> tuple[float, float]:
    """Masses, Da, as protein and as nucleic acid of one sequence; one of them is 0."""
    try:
        names = gemmi.expand_one_letter_sequence(sequence.letters, sequence.kind)
    except RuntimeError as error:
        raise InputError(f"{path}: {error}. Use one-letter codes.") from error
    mass = gemmi.calculate_sequence_weight(names, unknown=MEAN_RESIDUE_MASS)
    return (0.0, mass) if sequence.nucleic else (mass, 0.0)


@dataclass(frozen=True)
class MatthewsOption:
    """One possible content of the asymmetric unit.

    Parameters
    ----------
    copies : number of copies.
    solvent : solvent content, fraction of the volume.
    vm : Matthews coefficient, cubic Angstrom per Da.
    probability : of this option among all that fit; they sum to 1.
    kantardjieff_rupp : the same by Kantardjieff & Rupp (2003), for comparison.
    """

    copies: int
    solvent: float
    vm: float
    probability: float
    kantardjieff_rupp: float


@dataclass(frozen=True)
class SolventPrior:
    """What deposited protein structures say of solvent contents and copy numbers.

    Parameters
    ----------
    solvent : (m,) ascending from 0 to 1.
    resolution : (k,) Angstrom, ascending.
    density : (k, m) probability density of the solvent content at each resolution.
    copies : (c,) frequency of 1, 2, ... c chains in the asymmetric unit.
    """

    solvent: np.ndarray
    resolution: np.ndarray
    density: np.ndarray
    copies: np.ndarray

    @classmethod
    def shipped(cls) -> SolventPrior:
        """The prior fitted by :mod:`crank2_unet.training.calibration.solvent_prior`."""
        text = resources.files(__package__).joinpath("solvent_prior.json").read_text()
        values = json.loads(text)
        return cls(*(np.array(values[name], float)
                     for name in ("solvent", "resolution", "density", "copies")))

    def density_at(self, solvent: np.ndarray, d_min: float) -> np.ndarray:
        """Density at solvent contents (n,), linear in both arguments, constant beyond the table."""
        row = np.interp(d_min, self.resolution, np.arange(len(self.resolution)))
        low = min(int(row), len(self.resolution) - 2)
        curve = (low + 1 - row) * self.density[low] + (row - low) * self.density[low + 1]
        return np.interp(solvent, self.solvent, curve)

    def weight(self, copies: np.ndarray, solvent: np.ndarray, d_min: float) -> np.ndarray:
        """Posterior weights (n,) of copy numbers with their solvent contents.

        The cell, thus the volume v per mass of one copy, is what is observed and Vm = v / n what
        is distributed as in the data bank, so that P(n | v) ~ P(n) p(log Vm): a change of n only
        shifts log Vm.  As 1 - solvent ~ 1 / Vm, p(log Vm) = p(solvent) (1 - solvent).  Copy
        numbers beyond the table count as its last one.
        """
        frequency = self.copies[np.minimum(copies, len(self.copies)) - 1]
        return frequency * self.density_at(solvent, d_min) * (1 - solvent)


def kantardjieff_rupp(vm: np.ndarray, d_min: float, nucleic_fraction: float = 0.0) -> np.ndarray:
    """Unnormalised probability of Matthews coefficients (n,), cubic Angstrom per Da.

    Kantardjieff & Rupp (2003) Protein Sci. 12, 1865-1871.  ``nucleic_fraction``, of the mass,
    chooses the distribution: 0 that of proteins to resolution ``d_min`` (Angstrom), 1 that of
    DNA, else that of complexes.
    """
    row = int(np.searchsorted(_KANTARDJIEFF_RUPP[:_DNA_ROW, 0], d_min))
    if nucleic_fraction > 0:
        row = _DNA_ROW if nucleic_fraction == 1 else _COMPLEX_ROW
    _, p0, mean, width, amplitude, skew = _KANTARDJIEFF_RUPP[row]
    z = (np.asarray(vm) - mean) / width
    return p0 + amplitude * np.exp(-np.exp(-z) - skew * z + 1)


def matthews_options(composition: Composition, cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup,
                     d_min: float) -> list[MatthewsOption]:
    """Every copy number that leaves some solvent, with its probability.

    Crystals with nucleic acid, which the fitted prior does not cover, are judged by Kantardjieff
    & Rupp (2003), others by :class:`SolventPrior`.  ``d_min``: resolution of the data, Angstrom.

    Raises
    ------
    InputError : not even one copy fits.
    """
    asu_volume = cell.volume / len(spacegroup.operations())
    most = int(np.ceil(asu_volume / composition.volume)) - 1
    if most < 1:
        raise InputError(f"One copy of {composition.mass:.0f} Da does not fit into the asymmetric "
                         f"unit of {asu_volume:.0f} cubic Angstrom. Check the sequence, the unit "
                         "cell and the space group.")
    copies = np.arange(1, most + 1)
    solvent = 1 - copies * composition.volume / asu_volume
    vm = asu_volume / (copies * composition.mass)
    classical = kantardjieff_rupp(vm, d_min, composition.nucleic / composition.mass)
    weight = classical if composition.nucleic > 0 else SolventPrior.shipped().weight(
        copies, solvent, d_min)
    return [MatthewsOption(int(n), *map(float, values)) for n, *values in zip(
        copies, solvent, vm, weight / weight.sum(), classical / classical.sum())]
