"""One entry of the PDB: its Friedel mates phased from its anomalous scatterers, or why not.

The exclusions are those of the paper (section 2.1, Table 1), in its order, and some of our own.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import gemmi
import numpy as np

from ...crystal.grids import empty_grid
from ...crystal.masks import model_mask
from ...crystal.model_factors import model_structure_factors
from ...crystal.observations import AnomalousData, PhasedData
from ...crystal.phases import (
    angle_degrees,
    map_correlation,
    mean_phase_error,
    phi_fom_from_hl,
    to_complex,
)
from ...crystal.shells import Shells
from ...errors import InputError
from ...files.mtz_input import read_anomalous
from ...sad.friedel import mean_amplitude
from ...sad.phasing import phase_sad
from ...sad.scatterer import Scatterer
from ...solvent.matthews import Composition
from ..preparation.prepare import TRUTH_SPACING, later_maps
from ..preparation.prepared import PreparedMap, encode, write_prepared
from .programs import CORRECT, Experiment, Programs
from .substructure import deposited_substructure, laid_on

# reasons of exclusion, in the order in which they are looked for
NO_ANOMALOUS, OTHER_CELL, NOT_PHASED = ("no anomalous data", "cells of data and model differ",
                                        "not phased from the deposited substructure")
OTHER_POLYMER, NO_SCATTERER, UNREADABLE = (
    "nucleic acid, or no protein", "no anomalous scatterer in the model", "cannot be read")
REASONS = (UNREADABLE, OTHER_POLYMER, NO_ANOMALOUS, OTHER_CELL, NO_SCATTERER, NOT_PHASED)
# which of them are ours: the paper does not name them
OURS = (UNREADABLE, OTHER_POLYMER, NO_SCATTERER)
_AXES, _ANGLES = 0.03, 3.0  # relative and degrees: by what cells may differ (paper)
_LARGEST_ERROR, _LEAST_CORRELATION = 85.0, 0.1  # degrees; of E values in the lowest shell (paper)
_FEWEST_PAIRS = 50  # below this many a file has no anomalous data
_PAIRS = (("pdbx_F_plus", "pdbx_F_minus"), ("pdbx_I_plus", "pdbx_I_minus"))


class Excluded(Exception):
    """An entry that is not used: ``reason`` is one of ``REASONS``."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class DepositedExperiment:
    """What was measured and how it was phased: the settings of a prepared file."""

    scenario: str
    scatterer: Scatterer
    wavelength: float
    d_min: float
    n_sites: int


def prepare_entry(code: str, split: str, coordinates: str, reflections: str, out: str,
                  later_cycles: int, seed: int, programs: Programs) -> dict:
    """Phase an entry and write it as a prepared structure (:mod:`..preparation.prepared`).

    Parameters
    ----------
    code, split : of the entry; "train" or "validation".
    coordinates, reflections : mmCIF files.
    out : of the prepared file.
    later_cycles, seed : maps after density modification and what chooses them, see
        :func:`..preparation.prepare.prepare`.
    programs : what finds the substructure and phases, once the deposited one has shown that it can
        be done.

    Returns
    -------
    ``excluded``: reason or None, ``detail``; of an entry that was phased also scatterer, wavelength,
    d_min, n_sites, n_residues, solvent, phase_error (degrees), e_correlation, map_cc and fom, and, if
    there are programs for substructures, ``substructure``: number, from 1, of the one whose sites
    these are, 0 = deposited, and ``found``: of each program that ran, the share of the deposited atoms
    in its substructure.

    Raises
    ------
    ProgramError, InputError : a program fails, or writes what cannot be used.
    """
    try:
        return {"excluded": None, "detail": "", **_prepare(code, split, coordinates, reflections, out,
                                                           later_cycles, seed, programs)}
    except Excluded as error:
        return {"excluded": error.reason, "detail": error.detail}


def _prepare(code: str, split: str, coordinates: str, reflections: str, out: str,
             later_cycles: int, seed: int, programs: Programs) -> dict:
    structure, data, wavelength = _read(coordinates, reflections)
    try:
        element, sites = deposited_substructure(structure, wavelength)
    except ValueError as error:
        raise Excluded(NO_SCATTERER, str(error)) from error
    scatterer = Scatterer.at_wavelength(element, wavelength)
    f_true = model_structure_factors(structure, data.reflections)
    start = _phased(data, phase_sad(data, sites, scatterer, complete=False).hl)
    found = _agreement(start, f_true)
    if programs.substructure or programs.phasing:
        experiment = Experiment(data, element, wavelength, _sequences(structure))
        sites, how = _substructure(experiment, programs, sites)
        start = _phased(data, experiment.phase(programs.phasing, sites) if programs.phasing else
                        phase_sad(data, sites, scatterer, complete=False).hl)
        found = {**how, **_agreement(start, f_true)}
    n_residues = sum(len(chain.get_polymer()) for chain in structure[0])
    solvent = 1 - (Composition.from_residues(n_residues).volume * len(
        data.reflections.spacegroup.operations()) / structure.cell.volume)
    truth = model_mask(structure, empty_grid(data.reflections.cell, data.reflections.spacegroup,
                                             TRUTH_SPACING))
    rng = np.random.default_rng((seed, *code.encode()))
    maps = [PreparedMap(0, start.coefficients, *_phi_fom(start))]
    maps += later_maps(start, truth, solvent, later_cycles, rng, None)
    settings = DepositedExperiment("deposited", scatterer, wavelength, data.reflections.d_min,
                                   sites[0].count_atom_sites())
    write_prepared(out, encode(code, split, 0, n_residues, solvent, settings, start, truth, f_true,
                               maps, None))
    return {"scatterer": scatterer.element, **{k: v for k, v in asdict(settings).items()
                                               if k in ("wavelength", "d_min", "n_sites")},
            "n_residues": n_residues, "solvent": solvent, **found}


def _substructure(experiment: Experiment, programs: Programs, deposited: gemmi.Structure,
                  ) -> tuple[gemmi.Structure, dict]:
    """The first correct substructure that a program finds, on the deposited one, or that; and which."""
    shares: list[float] = []
    for number, command in enumerate(programs.substructure, 1):
        sites = experiment.find_sites(command)
        placed, share = laid_on(sites, deposited) if sites else (deposited, 0.0)
        shares.append(share)
        if share >= CORRECT:
            return placed, {"substructure": number, "found": shares}
    return deposited, {"substructure": 0, "found": shares} if shares else {}


def _read(coordinates: str, reflections: str) -> tuple[gemmi.Structure, AnomalousData, float]:
    """Model, Friedel mates and wavelength, in one cell."""
    try:
        structure = gemmi.read_structure(coordinates)
        structure.setup_entities()
        block = gemmi.cif.read(coordinates).sole_block()
        blocks = gemmi.as_refln_blocks(gemmi.cif.read(reflections))
    except (RuntimeError, ValueError, OSError) as error:
        raise Excluded(UNREADABLE, str(error)) from error
    _check_polymers(structure)
    chosen = max(blocks, key=_pairs, default=None)
    if chosen is None or _pairs(chosen) < _FEWEST_PAIRS:
        raise Excluded(NO_ANOMALOUS, f"Friedel mates in none of {len(blocks)} blocks")
    _check_cells(chosen.cell, structure.cell)
    if chosen.spacegroup is None:
        chosen.spacegroup = structure.find_spacegroup()
    wavelength = chosen.wavelength or _wavelength(block)
    if not wavelength:
        raise Excluded(UNREADABLE, "the wavelength is not said")
    try:
        with tempfile.TemporaryDirectory() as folder:
            mtz = Path(folder) / f"{Path(reflections).name.partition('.')[0]}.mtz"
            gemmi.CifToMtz().convert_block_to_mtz(chosen).write_to_file(str(mtz))
            _, data, _ = read_anomalous(mtz)
    except (InputError, RuntimeError) as error:
        raise Excluded(UNREADABLE, str(error)) from error
    structure.cell = data.reflections.cell
    structure.spacegroup_hm = data.reflections.spacegroup.xhm()
    structure.setup_cell_images()
    return structure, data, wavelength


def _check_polymers(structure: gemmi.Structure) -> None:
    """The network is for protein: nucleic acid looks different, and weighs different in the solvent
    content."""
    kinds = [gemmi.find_tabulated_residue(residue.name)
             for chain in next(iter(structure), ()) for residue in chain.get_polymer()]
    if nucleotides := sum(kind.is_nucleic_acid() for kind in kinds):
        raise Excluded(OTHER_POLYMER, f"{nucleotides} of {len(kinds)} residues are nucleotides")
    if not any(kind.is_amino_acid() for kind in kinds):
        raise Excluded(OTHER_POLYMER, "the model has no protein")


def _pairs(block: gemmi.ReflnBlock) -> int:
    """Number of reflections of which both Friedel mates are given."""
    labels = block.column_labels() if block.default_loop else []
    counts = [np.isfinite(block.make_float_array(plus) - block.make_float_array(minus)).sum()
              for plus, minus in _PAIRS if plus in labels and minus in labels]
    return int(max(counts, default=0))


def _check_cells(data: gemmi.UnitCell, model: gemmi.UnitCell) -> None:
    one, other = np.array(data.parameters), np.array(model.parameters)
    if not data.is_crystal() or not model.is_crystal():
        raise Excluded(UNREADABLE, "there is no unit cell")
    axes, angles = np.abs(one / other - 1)[:3].max(), np.abs(one - other)[3:].max()
    if axes > _AXES or angles > _ANGLES:
        raise Excluded(OTHER_CELL, f"axes by {100 * axes:.1f} %, angles by {angles:.1f} degrees")


def _wavelength(block: gemmi.cif.Block) -> float | None:
    """Wavelength, Angstrom, that the coordinates say; of several the first."""
    for tag in ("_diffrn_radiation_wavelength.wavelength", "_diffrn_source.pdbx_wavelength_list",
                "_diffrn_source.pdbx_wavelength"):
        for value in block.find_values(tag):
            for word in gemmi.cif.as_string(value).replace(",", " ").split():
                try:
                    return float(word) or None
                except ValueError:
                    continue
    return None


def _sequences(structure: gemmi.Structure) -> list[str]:
    """One-letter codes of the chains that differ, as deposited or, if that is not said, as modelled."""
    found = []
    for entity in structure.entities:
        if entity.entity_type == gemmi.EntityType.Polymer:
            names = [gemmi.Entity.first_mon(name) for name in entity.full_sequence] or [
                residue.name for chain in structure[0] for residue in chain.get_polymer()
                if residue.subchain in entity.subchains]
            # a modified residue has the letter of its parent, in lower case
            letters = (gemmi.find_tabulated_residue(name).one_letter_code for name in names)
            found.append("".join(letters).upper().replace(" ", "X"))
    return sorted({letters for letters in found if letters})


def _phased(data: AnomalousData, hl: np.ndarray) -> PhasedData:
    """Mean amplitudes with Hendrickson-Lattman coefficients (n, 4) and the m|F| map."""
    f, sigf = mean_amplitude(data)
    phi, fom = phi_fom_from_hl(hl, data.reflections.allowed_phase)
    return PhasedData(data.reflections, f, sigf, hl, to_complex(fom * np.nan_to_num(f), phi))


def _phi_fom(start: PhasedData) -> tuple[np.ndarray, np.ndarray]:
    return phi_fom_from_hl(start.hl, start.reflections.allowed_phase)


def _agreement(start: PhasedData, f_true: np.ndarray) -> dict[str, float]:
    """How the phases and the amplitudes agree with the model.

    Raises
    ------
    Excluded : hardly.
    """
    reflections, measured = start.reflections, np.isfinite(start.f)
    phi, fom = _phi_fom(start)
    error = mean_phase_error(phi[measured], angle_degrees(f_true)[measured])
    if not error <= _LARGEST_ERROR:
        raise Excluded(NOT_PHASED, f"mean phase error {error:.1f} degrees")
    shells = Shells(reflections, measured)
    scale = np.sqrt(reflections.epsilon)
    e_values = [f / shells.rms(np.where(measured, f, 0.0)) for f in (
        np.nan_to_num(start.f) / scale, np.abs(f_true) / scale)]
    lowest = measured & (reflections.in_bins(shells.count, measured) == 0)
    correlation = float(np.corrcoef(*(e[lowest] for e in e_values))[0, 1])
    if not correlation > _LEAST_CORRELATION:
        raise Excluded(NOT_PHASED, f"the E values of the lowest shell correlate {correlation:.2f}")
    return {"phase_error": error, "e_correlation": correlation,
            "map_cc": map_correlation(start.coefficients, f_true, reflections.multiplicity),
            "fom": float(fom[measured].mean())}
