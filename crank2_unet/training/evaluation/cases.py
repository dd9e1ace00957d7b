"""Data sets whose model is known: measured ones and prepared ones."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import gemmi
import numpy as np

from ...crystal.grids import empty_grid
from ...crystal.maps import CrystalMap, standard_spacing
from ...crystal.masks import flat_mask, model_mask
from ...crystal.model_factors import model_structure_factors
from ...crystal.observations import AnomalousData, PhasedData
from ...crystal.phases import angle_degrees, phi_fom_from_hl, to_complex
from ...crystal.reflections import Reflections
from ...errors import InputError
from ...files.coordinates import read_sites
from ...files.mtz_input import read_anomalous, read_phased
from ...sad.phasing import SadResult, Scatterer, phase_sad
from ...solvent.matthews import Composition, MatthewsOption, matthews_options
from ..commands import write_data
from ..preparation.prepared import PreparedStructure
from .scores import PhaseSet, Truth

_log = logging.getLogger(__name__)
_GIVEN_PHASES = "HLA_SAD,HLB_SAD,HLC_SAD,HLD_SAD"
INPUT_LABELS = ("F", "SIGF", "HLA", "HLB", "HLC", "HLD")
SITES, SEQUENCE = "sites.pdb", "sequence.fasta"
# anomalous differences in units of their rms, height of a site that the model's phases show in that of
# the map, and Angstrom from an atom of the model that stands for it
_CLIPPED, _SHOWN, _THERE = 4.0, 4.0, 1.0


@dataclass(frozen=True)
class Case:
    """A data set with its true phases and solvent mask.

    Parameters
    ----------
    kind : "measured" or "prepared".
    data : experimental phases.
    truth : what phases are compared with: the model, with anomalous scatterers that it lacks.
    mask : true solvent mask, 1 = solvent, on any grid.
    composition : of one copy.
    solvent : true solvent content, of the modelled mass.
    folder : of a measured data set, with its sequence and sites; None of a prepared one.
    """

    kind: str
    data: PhasedData
    truth: Truth
    mask: gemmi.FloatGrid
    composition: Composition
    solvent: float
    folder: Path | None

    @classmethod
    def read(cls, path: Path, d_min: float | None = None, from_sites: bool = False) -> Case:
        """Read a prepared file, or ``data.mtz``, ``model.pdb.gz``, ``sequence.fasta`` and
        ``meta.json`` of the folder of a measured data set.

        Parameters
        ----------
        d_min : resolution to cut measured data at, Angstrom; default: all data.
        from_sites : measured data are phased from Friedel mates and ``sites.pdb``; default: the
            Hendrickson-Lattman coefficients HLA_SAD to HLD_SAD.
        """
        return cls._measured(path, d_min, from_sites) if path.is_dir() else cls._prepared(path)

    @classmethod
    def _measured(cls, folder: Path, d_min: float | None, from_sites: bool) -> Case:
        sad = _Sad.of(folder) if from_sites else _Sad.if_told(folder)
        data = sad.phases if sad and from_sites else read_phased(
            folder / "data.mtz", "F,SIGF", _GIVEN_PHASES).data
        data = cut_resolution(data, d_min) if d_min else data
        reflections = data.reflections
        model = _in_crystal(folder / "model.pdb.gz", reflections)
        grid = empty_grid(reflections.cell, reflections.spacegroup, standard_spacing(reflections.d_min))
        whole = sad.with_scatterers(model) if sad else model
        factors = model_structure_factors(whole, reflections)
        return cls("measured", data,
                   Truth(reflections, data.f, angle_degrees(factors), np.abs(factors)),
                   model_mask(model, grid), Composition.from_file(folder / SEQUENCE),
                   _true_solvent(folder / "meta.json"), folder)

    @classmethod
    def _prepared(cls, path: Path) -> Case:
        """All residues of a prepared structure are one copy."""
        prepared = PreparedStructure.read(path)
        data = prepared.data
        return cls("prepared", data,
                   Truth(data.reflections, data.f, prepared.phi_true, prepared.f_true),
                   prepared.truth, Composition.from_residues(prepared.n_residues),
                   prepared.solvent_matthews, None)

    @property
    def start(self) -> PhaseSet:
        """The experimental phases."""
        r = self.data.reflections
        return PhaseSet(r, *phi_fom_from_hl(self.data.hl, r.allowed_phase), None)

    @cached_property
    def flat(self) -> gemmi.FloatGrid:
        """Where the true density is flat: :func:`~crank2_unet.crystal.masks.flat_mask`."""
        true = to_complex(np.nan_to_num(self.data.f), self.truth.phi)
        return flat_mask(self.data.reflections, true, self.mask)

    @property
    def matthews(self) -> MatthewsOption:
        """The most probable content by the cell and the composition alone."""
        r = self.data.reflections
        return max(matthews_options(self.composition, r.cell, r.spacegroup, r.d_min),
                   key=lambda option: option.probability)

    def sites(self) -> gemmi.Structure | None:
        """Heavy-atom sites of a measured data set; None without."""
        if self.folder is None or not (self.folder / SITES).exists():
            return None
        return read_sites(self.folder / SITES, self.data.reflections)

    def write_mtz(self, path: Path, hl: np.ndarray) -> None:
        """The amplitudes with Hendrickson-Lattman coefficients (n, 4), as programs are given them: in
        columns ``INPUT_LABELS``, with a row for every reflection."""
        r = self.data.reflections
        columns = np.column_stack([self.data.f, self.data.sigf, hl])
        columns[~np.isfinite(self.data.f)] = np.nan
        write_data(path, r, {label: (kind, values) for label, kind, values in zip(
            INPUT_LABELS, "FQAAAA", columns.T)})


def cut_resolution(data: PhasedData, d_min: float) -> PhasedData:
    """Data without the reflections beyond a resolution limit, Angstrom.

    Raises
    ------
    InputError : the data do not reach that far.
    """
    old = data.reflections
    if d_min < old.d_min:
        raise InputError(f"The data extend to {old.d_min:.2f} A only and cannot be cut at "
                         f"{d_min:g} A. Give a larger value.")
    return data.at_resolution(d_min)


def _true_solvent(path: Path) -> float:
    """The solvent content that ``meta.json`` tells."""
    try:
        return float(json.loads(path.read_text())["validation"]["solvent_content_matthews"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not tell the solvent content of the model ({error!r}). Write "
                         '{"validation": {"solvent_content_matthews": 0.5}} into it, with the true '
                         "fraction.") from error


@dataclass(frozen=True)
class _Sad:
    """Friedel mates and what their sites give."""

    data: AnomalousData
    phased: SadResult

    @classmethod
    def of(cls, folder: Path) -> _Sad:
        """Of a measured data set, its sites taken to be of the element that most of them have."""
        _, data, _ = read_anomalous(folder / "data.mtz")
        if data.wavelength is None:
            raise InputError(f"{folder / 'data.mtz'} does not say the wavelength.")
        sites = _in_crystal(folder / SITES, data.reflections)
        element = Counter(cra.atom.element.name for cra in sites[0].all()).most_common(1)[0][0]
        return cls(data, phase_sad(data, sites, Scatterer.at_wavelength(element, data.wavelength),
                                   composition=Composition.from_file(folder / SEQUENCE)))

    @classmethod
    def if_told(cls, folder: Path) -> _Sad | None:
        """The same where there are sites; None, and a word on it, if the data do not go with them."""
        if not (folder / SITES).exists():
            return None
        try:
            return cls.of(folder)
        except InputError as error:
            _log.warning("%s: the model is taken as it is, without anomalous scatterers that it may "
                         "lack: %s", folder, error)
            return None

    @property
    def phases(self) -> PhasedData:
        """What density modification starts from."""
        found = self.phased
        return PhasedData(self.data.reflections, found.f, found.sigf, found.hl, found.coefficients)

    def with_scatterers(self, model: gemmi.Structure) -> gemmi.Structure:
        """The model with those anomalous scatterers that it lacks, as most have none that were soaked
        in: refined sites at which the model's phases show anomalous density, as they do not in another
        origin or hand."""
        reflections = self.data.reflections
        difference = np.nan_to_num(self.data.f_plus - self.data.f_minus)
        limit = _CLIPPED * difference.std()  # errors of measurement would raise noise everywhere
        phi = angle_degrees(model_structure_factors(_in(model, reflections), reflections))
        difference = np.clip(difference, -limit, limit)
        density = CrystalMap(reflections, to_complex(difference, phi - 90)).density
        least = _SHOWN * density.array.std()
        whole = model.clone()
        near = gemmi.NeighborSearch(whole[0], whole.cell, _THERE).populate()
        added = gemmi.Chain("sites")
        for chain in self.phased.sites[0]:
            for residue in chain:
                place = residue[0].pos
                if density.interpolate_value(place) < least:
                    continue
                there = near.find_nearest_atom(place, radius=_THERE)
                site = residue[0]
                occupancy = site.occ * self.phased.statistics["absolute"]["occupancy"]
                if there is None:
                    added.add_residue(residue)
                    added[-1][0].occ = occupancy
                    continue
                atom = there.to_cra(whole[0]).atom  # also water in a site, sulphur that is selenium
                if atom.element.atomic_number < site.element.atomic_number:
                    atom.element, atom.occ, atom.b_iso = site.element, occupancy, site.b_iso
        whole[0].add_chain(added)
        return whole


def _in_crystal(path: Path, reflections: Reflections) -> gemmi.Structure:
    """A structure in the cell of the data, which differs from that of the file by rounding."""
    return _in(gemmi.read_structure(str(path)), reflections)


def _in(structure: gemmi.Structure, reflections: Reflections) -> gemmi.Structure:
    structure.cell, structure.spacegroup_hm = reflections.cell, reflections.spacegroup.xhm()
    structure.setup_cell_images()
    return structure
