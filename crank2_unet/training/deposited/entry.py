"""One entry of the PDB: its Friedel mates phased from its own anomalous scatterers, or why not.

The exclusions are those of the paper (section 2.1, Table 1), in its order.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import gemmi
import numpy as np

from ...crystal.grids import empty_grid
from ...crystal.masks import model_mask
from ...crystal.model_factors import model_structure_factors
from ...crystal.observations import AnomalousData, PhasedData
from ...crystal.phases import angle_degrees, map_correlation, mean_phase_error
from ...crystal.shells import Shells
from ...crystal.sites import model_of_sites
from ...errors import InputError
from ...files.mtz_input import read_anomalous
from ...sad.phasing import SadResult, phase_sad
from ...sad.scatterer import Scatterer
from ...solvent.matthews import Composition
from ..preparation.prepare import TRUTH_SPACING, later_maps
from ..preparation.prepared import PreparedMap, encode, write_prepared

# reasons of exclusion, in the order in which they are looked for
NO_ANOMALOUS, OTHER_CELL, NOT_PHASED = ("no anomalous data", "cells of data and model differ",
                                        "not phased from the deposited substructure")
NO_SCATTERER, UNREADABLE = "no anomalous scatterer in the model", "cannot be read"
REASONS = (UNREADABLE, NO_ANOMALOUS, OTHER_CELL, NO_SCATTERER, NOT_PHASED)
_AXES, _ANGLES = 0.03, 3.0  # relative and degrees: by what cells may differ (paper)
_LARGEST_ERROR, _LEAST_CORRELATION = 85.0, 0.1  # degrees; of E values in the lowest shell (paper)
_FEWEST_PAIRS = 50  # below this many a file has no anomalous data
_PAIRS = (("pdbx_F_plus", "pdbx_F_minus"), ("pdbx_I_plus", "pdbx_I_minus"))
_LIGHT = ("H", "D", "C", "N", "O")


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
                  later_cycles: int = 0, seed: int = 0) -> dict:
    """Phase an entry and write it as a prepared structure (:mod:`..preparation.prepared`).

    Parameters
    ----------
    code, split : of the entry; "train" or "validation".
    coordinates, reflections : mmCIF files.
    out : of the prepared file.
    later_cycles, seed : maps after density modification and what chooses them, see
        :func:`..preparation.prepare.prepare`.

    Returns
    -------
    ``excluded``: reason or None, ``detail``; of an entry that was phased also scatterer, wavelength,
    d_min, n_sites, n_residues, solvent, phase_error (degrees), e_correlation, map_cc and fom.
    """
    try:
        return {"excluded": None, "detail": "",
                **_prepare(code, split, coordinates, reflections, out, later_cycles, seed)}
    except Excluded as error:
        return {"excluded": error.reason, "detail": error.detail}


def _prepare(code: str, split: str, coordinates: str, reflections: str, out: str,
             later_cycles: int, seed: int) -> dict:
    structure, data, wavelength = _read(coordinates, reflections)
    scatterer, sites = deposited_substructure(structure, wavelength)
    phased = phase_sad(data, sites, scatterer, complete=False)
    f_true = model_structure_factors(structure, data.reflections)
    found = _agreement(phased, f_true, data)
    if not found["phase_error"] <= _LARGEST_ERROR:
        raise Excluded(NOT_PHASED, f"mean phase error {found['phase_error']:.1f} degrees")
    if not found["e_correlation"] > _LEAST_CORRELATION:
        raise Excluded(NOT_PHASED, "the E values of the lowest shell correlate "
                       f"{found['e_correlation']:.2f}")
    n_residues = sum(len(chain.get_polymer()) for chain in structure[0])
    solvent = 1 - (Composition.from_residues(n_residues).volume * len(
        data.reflections.spacegroup.operations()) / structure.cell.volume)
    truth = model_mask(structure, empty_grid(data.reflections.cell, data.reflections.spacegroup,
                                             TRUTH_SPACING))
    start = PhasedData(data.reflections, phased.f, phased.sigf, phased.hl, phased.coefficients)
    rng = np.random.default_rng((seed, *code.encode()))
    maps = [PreparedMap(0, phased.coefficients, phased.phi, phased.fom)]
    maps += later_maps(start, truth, solvent, later_cycles, rng, None)
    experiment = DepositedExperiment("deposited", scatterer, wavelength, data.reflections.d_min,
                                     phased.statistics["n_sites"])
    write_prepared(out, encode(code, split, 0, n_residues, solvent, experiment, start, truth, f_true,
                               maps, None))
    return {"scatterer": scatterer.element, **{k: v for k, v in asdict(experiment).items()
                                               if k in ("wavelength", "d_min", "n_sites")},
            "n_residues": n_residues, "solvent": solvent, **found}


def _read(coordinates: str, reflections: str) -> tuple[gemmi.Structure, AnomalousData, float]:
    """Model, Friedel mates and wavelength, in one cell."""
    try:
        structure = gemmi.read_structure(coordinates)
        structure.setup_entities()
        block = gemmi.cif.read(coordinates).sole_block()
        blocks = gemmi.as_refln_blocks(gemmi.cif.read(reflections))
    except (RuntimeError, ValueError, OSError) as error:
        raise Excluded(UNREADABLE, str(error)) from error
    if not any(chain.get_polymer() for model in structure for chain in model):
        raise Excluded(UNREADABLE, "the model has no polymer")
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


def deposited_substructure(structure: gemmi.Structure, wavelength: float,
                           ) -> tuple[Scatterer, gemmi.Structure]:
    """The element whose anomalous scattering at a wavelength is strongest, and its atoms.

    Strength is the mean square of the anomalous structure factor, the sum of (f'' occupancy)^2.

    Raises
    ------
    Excluded : the model holds light elements only.
    """
    strength: dict[str, float] = defaultdict(float)
    for cra in structure[0].all():
        name, number = cra.atom.element.name, cra.atom.element.atomic_number
        if name not in _LIGHT and number:
            _, f2 = gemmi.cromer_liberman(number, gemmi.hc / wavelength)
            strength[name] += (f2 * cra.atom.occ) ** 2
    if not any(strength.values()):
        raise Excluded(NO_SCATTERER, "only light elements")
    element = max(strength, key=lambda symbol: strength[symbol])
    sites = gemmi.Structure()
    sites.cell, sites.spacegroup_hm = structure.cell, structure.spacegroup_hm
    sites.add_model(model_of_sites(cra.atom for cra in structure[0].all()
                                   if cra.atom.element.name == element and cra.atom.occ > 0))
    sites.setup_cell_images()
    return Scatterer.at_wavelength(element, wavelength), sites


def _agreement(phased: SadResult, f_true: np.ndarray, data: AnomalousData) -> dict[str, float]:
    """How the phases and the amplitudes agree with the model."""
    reflections, measured = data.reflections, np.isfinite(phased.f)
    shells = Shells(reflections, measured)
    scale = np.sqrt(reflections.epsilon)
    e_values = [f / shells.rms(np.where(measured, f, 0.0)) for f in (
        np.nan_to_num(phased.f) / scale, np.abs(f_true) / scale)]
    lowest = measured & (reflections.in_bins(shells.count, measured) == 0)
    return {"phase_error": mean_phase_error(phased.phi[measured], angle_degrees(f_true)[measured]),
            "e_correlation": float(np.corrcoef(*(e[lowest] for e in e_values))[0, 1]),
            "map_cc": map_correlation(phased.coefficients, f_true, reflections.multiplicity),
            "fom": float(phased.fom[measured].mean())}
