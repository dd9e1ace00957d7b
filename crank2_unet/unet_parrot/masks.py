"""Where the mask of each cycle comes from."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import gemmi
import numpy as np

from ..crystal.filters import soften
from ..crystal.grids import like, resample
from ..crystal.maps import CrystalMap
from ..crystal.masks import cut_at_fraction, model_mask
from ..crystal.observations import PhasedData
from ..crystal.phases import phi_fom_from_hl, to_complex
from ..errors import Crank2UnetError, InputError, ProgramError
from ..files.columns import MAP_COEFFICIENTS
from ..files.coordinates import read_structure
from ..files.maps import read_map_of, read_mask, write_map
from ..files.mtz_input import Input
from ..modification.region_weights import (
    FixedWeights,
    RegionWeights,
    VarianceWeights,
    check_convention,
    deviation_radius,
)
from ..modification.sharpening import Sharpening
from ..network.session import SolventNet
from ..pipeline import network_weights, segment
from ..solvent.matthews import Composition, MatthewsOption, matthews_options
from .options import ParrotOptions

_log = logging.getLogger(__name__)

_MODEL_BLUR = 1.0  # Angstrom; the best softening of the mask of a model (tests/test_modification.py)


class Masks:
    """Where the mask of each cycle comes from; nothing is made before it is needed."""

    def __init__(self, options: ParrotOptions, given: Input, data: PhasedData):
        self._options, self._given, self._data = options, given, data
        self._file = FileMask(options, data)

    @cached_property
    def fom(self) -> float:
        """Mean figure of merit of the measured reflections before the first cycle."""
        _, fom = phi_fom_from_hl(self._data.hl, self._data.reflections.allowed_phase)
        return float(fom[np.isfinite(self._data.f)].mean())

    @cached_property
    def radius(self) -> float:
        """Of the local variance, Angstrom."""
        return self._options.solvent_mask_filter_radius or deviation_radius(self.fom)

    def source(self, cycle: int) -> str:
        """"file", "fmsk", "model", "unet" or "variance"."""
        options = self._options
        if options.mskin and (cycle == 1 or options.mskin_cycles == "all"):
            return "file"
        if options.colin_fmsk and cycle == 1:
            return "fmsk"
        if options.pdbin and not options.force_solvent_mask_calculation:
            return "model"
        return "variance" if self._net is None else "unet"

    def describe(self, cycle: int) -> str:
        """What the mask of a cycle is, for the log."""
        options, source = self._options, self.source(cycle)
        if source == "file":
            command = f", by {options.mask_command}" if options.mask_command else ""
            return f"{options.mskin}, {options.mskin_value}{command}"
        if source == "model":
            return options.pdbin
        if source == "unet" and self._net:
            return f"network {self._net.card.name} {self._net.card.version} on {self._net.device.used}"
        of_map = f" of {options.colin_fmsk}" if source == "fmsk" else ""
        return f"local variance{of_map}, radius {self.radius:.2f} A"

    def weights(self, current: CrystalMap, cycle: int) -> gemmi.FloatGrid:
        """P(solvent) on the grid of the map of a cycle."""
        source = self.source(cycle)
        if source == "file":
            return self._file.weights(current, cycle, self.solvent_content)
        if source == "unet" and self._unet:
            return self._unet(current, cycle)
        if source == "model":
            return self._model(current, cycle)
        if source == "fmsk":
            current = CrystalMap(self._data.reflections, self._fmsk)
        return VarianceWeights(self.solvent_content, self.radius)(current, cycle)

    @property
    def solvent_content(self) -> float:
        return self._solvent_and_source[0]

    @property
    def solvent_source(self) -> str:
        return self._solvent_and_source[1]

    @cached_property
    def matthews(self) -> list[MatthewsOption]:
        """What the sequence says of the number of copies; empty without one."""
        r = self._data.reflections
        return [] if self._composition is None else matthews_options(
            self._composition, r.cell, r.spacegroup, r.d_min)

    @cached_property
    def _composition(self) -> Composition | None:
        return Composition.from_file(self._options.seqin) if self._options.seqin else None

    @cached_property
    def _solvent_and_source(self) -> tuple[float, str]:
        options = self._options
        sources = {self.source(cycle) for cycle in range(1, options.cycles + 1)}
        if options.solvent_content:
            return options.solvent_content, "given"
        if options.pdbin:
            return float(self._model.mask.array.mean()), "from the model"
        if "unet" in sources and self._net:
            found = segment(self._data, self._net, self._composition).solvent
            return found.value, ("estimated from the network's map" if found.rule == "unet" else
                                 "estimated from the network's map and the sequence")
        if self.matthews:
            return max(self.matthews, key=lambda o: o.probability).solvent, "from the sequence"
        if options.mskin and not options.mask_command:
            return self._file.mean(), "from the mask"
        if sources == {"file"} and options.mskin_value != "prob":
            return 0.0, "not needed"
        raise InputError("The solvent content is not known. Give -solvent-content or -seqin.")

    @cached_property
    def _net(self) -> SolventNet | None:
        """The network; None where local variance takes its place."""
        options = self._options
        if options.mask == "variance":
            return None
        try:
            return SolventNet.load(options.model or None, options.device, options.threads or None)
        except Crank2UnetError as error:
            if options.mask == "unet" or options.model:
                raise
            _log.warning("The network cannot be used: %s The mask is made by local variance, the "
                         "classical way.", error)
            return None

    @cached_property
    def _unet(self) -> RegionWeights | None:
        return None if self._net is None else network_weights(self._data, self._net,
                                                              self.solvent_content)

    @cached_property
    def _model(self) -> FixedWeights:
        """Softened mask of the model."""
        structure = read_structure(self._options.pdbin)
        return FixedWeights(soften(model_mask(structure, self._data.map.density), _MODEL_BLUR))

    @cached_property
    def _fmsk(self) -> np.ndarray:
        """Coefficients of the map whose local variance is the mask of the first cycle."""
        file = self._given.file
        values = file.values(file.choose(MAP_COEFFICIENTS, self._options.colin_fmsk))
        return np.nan_to_num(to_complex(*self._data.reflections.spread(file.hkl, values).T))


@dataclass(frozen=True)
class FileMask:
    """The mask of -mskin, read anew in each cycle if a command writes it."""

    options: ParrotOptions
    data: PhasedData

    def weights(self, current: CrystalMap, cycle: int, solvent_content: float) -> gemmi.FloatGrid:
        """P(solvent) on the grid of the map of a cycle."""
        if self.options.mask_command:
            self._run_command(current, cycle)
        options = self.options
        mask = resample(self._read(), current.density)
        if cycle == 1 and not options.mask_command:
            check_convention(mask, current, options.mskin, "-mskin-one-is", bool(options.mskin_one_is))
        if self.options.mskin_value == "prob":
            return cut_at_fraction(mask, solvent_content, lowest=False)
        if self.options.mskin_value == "mask":
            return like(mask, mask.array > 0.5)
        return like(mask, np.clip(mask.array, 0, 1))

    def mean(self) -> float:
        """Solvent content by the mask."""
        return float(np.clip(self._read().array, 0, 1).mean())

    def _read(self) -> gemmi.FloatGrid:
        options, reflections = self.options, self.data.reflections
        mask = (read_mask(options.mskin, reflections, "Give -mskin-value prob or mask to cut them.")
                if options.mskin_value == "soft" else read_map_of(options.mskin, reflections))
        return like(mask, 1 - mask.array) if options.mskin_one_is == "protein" else mask

    def _run_command(self, current: CrystalMap, cycle: int) -> None:
        """Let the user's command make the mask from the current map.

        Raises
        ------
        ProgramError : it fails or leaves the mask as it was.
        """
        mask = Path(self.options.mskin)
        map_file = self.options.mask_map or f"{Path(self.options.mtzout).with_suffix('')}-current.map"
        write_map(self._as_in_parrot(current).density, map_file)
        before = _stamp(mask)
        # the user's own command line, hence a shell; file names are quoted
        command = (f"{self.options.mask_command} {shlex.quote(map_file)} {shlex.quote(str(mask))} "
                   f"{cycle}")
        status = subprocess.run(command, shell=True, check=False).returncode
        if status:
            raise ProgramError(f"-mask-command failed with status {status} in cycle {cycle}: {command}")
        if _stamp(mask) == before:
            raise ProgramError(f"-mask-command did not write {mask} in cycle {cycle}: {command}")

    def _as_in_parrot(self, current: CrystalMap) -> CrystalMap:
        """The current map with the fall-off that its amplitudes have in Parrot."""
        sharpening = self._sharpening
        if self.options.anisotropy_correction:
            sharpening = sharpening.isotropic
        return CrystalMap(current.reflections, sharpening.undo(current.coefficients))

    @cached_property
    def _sharpening(self) -> Sharpening:
        return Sharpening.of(self.data)


def _stamp(path: Path) -> tuple | None:
    """What changes when a file is written; None if there is none."""
    if not path.exists():
        return None
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ino, status.st_size
