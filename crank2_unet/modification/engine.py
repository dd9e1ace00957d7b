"""What a program that modifies density is given and gives back, and the embedded one.

The other one is :class:`~crank2_unet.parrot.engine.ParrotEngine`.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Callable, Protocol

import gemmi
import numpy as np

from ..crystal.observations import PhasedData
from ..crystal.phases import phi_fom_from_hl
from ..crystal.reflections import Reflections
from .cycles import MOST_CYCLES, finest, modify_density
from .ncs import NcsAverager
from .ncs_map import MapAverager
from .ncs_operator import Operator
from .ncs_search import with_inverses
from .region_weights import RegionWeights

_log = logging.getLogger(__name__)
_OVERCONFIDENT = 0.1  # figure of merit that phases claim too much, which is worth a warning


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
    """A program that modifies density; ``name`` is its name on the command line, ``most_cycles`` the
    number of cycles that it does at most if it is not told another."""

    name: str
    most_cycles: int

    def finest(self, reflections: Reflections, cycles: int | None) -> float:
        """Resolution, Angstrom, of the finest map that it makes of data."""

    def modify(self, data: PhasedData, weights: RegionWeights, solvent_content: float,
               cycles: int | None, folder: Path,
               progress: Callable[[int], None] | None = None) -> Modified:
        """Improve phases.

        Parameters
        ----------
        data : amplitudes, experimental phases, starting map.
        weights : region weights.  An engine that does better by itself with those of a known kind
            (:class:`~.region_weights.FixedWeights`, :class:`~.region_weights.VarianceWeights`)
            may.
        solvent_content : fraction of the cell.
        cycles : number of cycles, at least 1; None: as many as the engine finds worth their time, of
            at most ``most_cycles``.
        folder : for files that the engine needs or leaves.
        progress : called with the number of each cycle that is done.
        """


@dataclass(frozen=True)
class EmbeddedEngine:
    """:func:`~crank2_unet.modification.cycles.modify_density`; needs no other program and no files.

    Parameters
    ----------
    ncs_sites : heavy atoms whose arrangement may tell of NCS once some cycles have improved the map;
        None: they are not known.
    ncs_operators : known ones, each with a mask of its own round its source, as of domains that move
        against each other; then neither sites nor map are asked.
    ncs_from_map : operators are looked for in that map without sites, too.
    """

    ncs_sites: gemmi.Structure | None = None
    ncs_operators: tuple[Operator, ...] = ()
    ncs_from_map: bool = False
    name, most_cycles = "embedded", MOST_CYCLES

    def finest(self, reflections: Reflections, cycles: int | None) -> float:
        return reflections.d_min if cycles else finest(reflections)

    def modify(self, data: PhasedData, weights: RegionWeights, solvent_content: float,
               cycles: int | None, folder: Path,
               progress: Callable[[int], None] | None = None) -> Modified:
        found = modify_density(data, weights, cycles,
                               progress and (lambda statistics: progress(statistics.cycle)),
                               self._averager(data.map.density))
        how: dict = {"phases": _judgement_of_phases(data, found.trust.phases), "shells": found.shells,
                     "beyond_data": found.beyond_data and asdict(found.beyond_data)}
        if found.averager and found.averager.looked:
            how["ncs"] = _ncs(found.averager, found.cycles[-1].ncs_correlation is not None)
        return Modified(found.coefficients, found.fom, found.hl, found.weights,
                        [asdict(cycle) for cycle in found.cycles], how)

    def _averager(self, density: gemmi.FloatGrid) -> NcsAverager | None:
        """Averaging by the operators given, or by those that sites or map will show; None without."""
        if self.ncs_operators:
            return NcsAverager(with_inverses(self.ncs_operators, density), density)
        if self.ncs_from_map or self.ncs_sites is not None:
            return MapAverager(density, self.ncs_sites, self.ncs_from_map)
        return None


def _ncs(averager: NcsAverager, used: bool) -> list[dict]:
    """Entry of the result on the operators, none if amplitudes that were held back have spoken against
    averaging in the last cycle, with a warning."""
    if not used and any(one.volume for one in averager.statistics):
        _log.warning("NCS operators superpose like density, but amplitudes that were held back agree "
                     "better without averaging, so the map is not averaged: the copies differ by more "
                     "than its errors, or the operators are wrong.")
        return []
    return [{"operator": str(operator), **asdict(statistics)}
            for operator, statistics in zip(averager.operators, averager.statistics)]


def _judgement_of_phases(data: PhasedData, trust: float) -> dict[str, float]:
    """Entry of the result on the experimental phases, with a warning if they claim too much: the share
    of them that was believed in the last cycle, their mean figure of merit, and that which is left."""
    measured = np.isfinite(data.f)
    claimed, supported = (float(phi_fom_from_hl(share * data.hl, data.reflections.allowed_phase)[1]
                                [measured].mean()) for share in (1.0, trust))
    if claimed - supported > _OVERCONFIDENT:
        _log.warning("The phases claim a mean figure of merit of %.2f; the modified map supports %.2f, "
                     "and they were weighted accordingly.", claimed, supported)
    return {"trust": trust, "claimed_fom": claimed, "supported_fom": supported}
