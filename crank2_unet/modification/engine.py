"""What a program that modifies density is given and gives back, and the embedded one.

The other one is :class:`~crank2_unet.parrot.engine.ParrotEngine`.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Callable, Protocol, Union

import gemmi
import numpy as np

from ..crystal.grids import density_map
from ..crystal.observations import PhasedData
from .cycles import modify_density
from .ncs import NcsAverager
from .ncs_search import SITES_RADIUS, operators_from_sites
from .region_weights import RegionWeights, classical_weights, fixed_weights

_log = logging.getLogger(__name__)

# renewed in every cycle, the same in every cycle, or those that the engine finds by local variance
Masks = Union[RegionWeights, gemmi.FloatGrid, None]


@dataclass(frozen=True)
class Modified:
    """Outcome of density modification by an engine; n reflections.

    Parameters
    ----------
    coefficients : (n,) complex, 2mFo-DFc; DFc where there is no amplitude.
    fom : (n,) figures of merit.
    hl : (n, 4) Hendrickson-Lattman coefficients of the combined phases.
    weights : region weights of the last cycle, P(solvent) in [0, 1].
    cycles : statistics of each cycle, as in result.json; None where the engine does not say.
    how : what else result.json says of the engine.
    files : further outputs, name in result.json -> file in the folder of the job.
    """

    coefficients: np.ndarray
    fom: np.ndarray
    hl: np.ndarray
    weights: gemmi.FloatGrid
    cycles: list[dict]
    how: dict = field(default_factory=dict)
    files: dict = field(default_factory=dict)


class Engine(Protocol):
    """A program that modifies density; ``name`` is its name on the command line."""

    name: str

    def modify(self, data: PhasedData, masks: Masks, solvent_content: float, cycles: int,
               folder: Path, progress: Callable[[int], None] | None = None) -> Modified:
        """Improve phases.

        Parameters
        ----------
        data : amplitudes, experimental phases, starting map.
        masks : see ``Masks`` above.
        solvent_content : fraction of the cell, for masks by local variance and to cut others.
        cycles : number of cycles, at least 1.
        folder : for files that the engine needs or leaves.
        progress : called with the number of each cycle that is done.
        """


@dataclass(frozen=True)
class EmbeddedEngine:
    """:func:`~crank2_unet.modification.cycles.modify_density`; needs no other program and no files.

    Parameters
    ----------
    ncs_sites : heavy atoms whose arrangement may tell of NCS; None: no averaging.
    """

    ncs_sites: gemmi.Structure | None = None
    name = "embedded"

    def modify(self, data: PhasedData, masks: Masks, solvent_content: float, cycles: int,
               folder: Path, progress: Callable[[int], None] | None = None) -> Modified:
        if masks is None:
            masks = classical_weights(data, solvent_content)
        weights = masks if callable(masks) else fixed_weights(masks)
        averager = None if self.ncs_sites is None else self._averager(data)
        found = modify_density(data, weights, cycles,
                               progress and (lambda statistics: progress(statistics.cycle)), averager)
        how = {} if averager is None else {"ncs": [
            {"operator": str(operator), **asdict(statistics)}
            for operator, statistics in zip(averager.operators, averager.statistics)]}
        return Modified(found.coefficients, found.fom, found.hl, found.weights,
                        [asdict(cycle) for cycle in found.cycles], how)

    def _averager(self, data: PhasedData) -> NcsAverager:
        density = density_map(data.reflections, data.coefficients, data.reflections.d_min / 3)
        operators = operators_from_sites(self.ncs_sites, density)
        if not operators:
            _log.warning("No non-crystallographic symmetry was found from the sites: the map is not "
                         "averaged.")
        return NcsAverager(operators, density, SITES_RADIUS)
