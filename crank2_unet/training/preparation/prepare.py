"""Training maps: deposited structures become SAD-phased maps with their true solvent masks.

One file for each structure and variant, so that an interrupted run is continued by repeating it.
Work goes through Dask: the same call runs on the cores of one machine or on a cluster.
"""

from __future__ import annotations

import csv
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np

from ...crystal.filters import soften
from ...crystal.grids import empty_grid, like
from ...crystal.masks import cut_at_fraction, model_mask
from ...crystal.observations import PhasedData
from ...crystal.phases import map_correlation, phi_fom_from_hl
from ...crystal.reflections import Reflections
from ...errors import InputError
from ...modification.cycles import modify_density
from ...modification.region_weights import FixedWeights, VarianceWeights
from ...network.session import SolventNet
from ...pipeline import network_weights
from ...sad.phasing import other_hand, phase_sad
from ...simulation.experiment import SimulatedSad, simulate_sad
from ...simulation.random_settings import random_settings
from ..parallel import run_all
from .overconfidence import make_overconfident
from .prepared import OtherHand, PreparedMap, encode, write_prepared

SPLITS = ("train", "validation", "test")
TRUTH_SPACING = 1.0  # Angstrom, that of the network's windows
# 5 % of the training depositions are larger; they hold 28 % of all cell volume
LARGEST_VOLUME = 1.8e6  # of the cell, cubic Angstrom
LATEST_CYCLE = 6  # of density modification; each map of an experiment is of another cycle
_REFINEMENT_CYCLES = 1  # of the sites: more change the mean phase error by 0.02 degrees


@dataclass(frozen=True)
class Preparation:
    """What a call of :func:`prepare` did.

    Parameters
    ----------
    written, existing : number of files.
    failures : error message of each "code_variant" that gave no file.
    """

    written: int
    existing: int
    failures: dict[str, str]


def prepare(index_csv: str | Path, folder: str | Path, out: str | Path, split: str = "train",
            limit: int | None = None, variants: int = 1, later_cycles: int = 1, seed: int = 0,
            workers: int = 1, scheduler: str | None = None, both_hands: bool = False,
            largest_volume: float = LARGEST_VOLUME, masks_of: str | Path | None = None,
            first_variant: int = 0, overconfident: int = 1) -> Preparation:
    """Write one ``<code>_<variant>.npz`` for each structure of a split and each variant.

    Files that exist are kept; failures are reported, not fatal.  The content of a file depends on
    seed, code, variant, ``later_cycles``, ``both_hands``, ``masks_of`` and ``overconfident`` only, not
    on the other structures.

    Parameters
    ----------
    index_csv : table with columns code, split, resolution, solvent, n_residues and the cell.
    folder : holds ``<code>.cif.gz``.
    out : folder of the results, created if need be.
    split : "train", "validation" or "test".
    limit : number of structures, chosen at random; None takes all.
    variants : number of simulated experiments for each structure.
    later_cycles : number of maps from later cycles of density modification for each experiment, at
        most ``LATEST_CYCLE``.
    workers : processes on this machine.
    scheduler : address of a Dask scheduler; then ``workers`` is not used.
    both_hands : phase with the other hand of the sites, too; it takes twice the time, and the rest
        of the file is the same.
    largest_volume : of the cell, cubic Angstrom.
    masks_of : model card of a network whose masks make the later maps; default: classical masks and
        damaged true ones.
    first_variant : number of the first experiment, to add others to a folder.
    overconfident : how often each experiment is shown with phases that claim too much, each time to
        another degree, and with later maps of its own.

    Raises
    ------
    InputError : unknown split, no structures in it, files in the folder of structures that are not of
        this split (any more), or too many later cycles.
    """
    if later_cycles > LATEST_CYCLE:
        raise InputError(f"{later_cycles} maps of later cycles; there can be {LATEST_CYCLE} at most, "
                         "each of another cycle.")
    out = Path(out)
    rows = _of_split(index_csv, split)
    _refuse_strangers(out, {row["code"] for row in rows}, split)
    jobs = {f"{row['code']}_{variant}": (row, variant)
            for row in _choose(rows, limit, seed, largest_volume)
            for variant in range(first_variant, first_variant + variants)}
    out.mkdir(parents=True, exist_ok=True)
    card = masks_of and str(Path(masks_of).resolve())
    missing = [name for name in jobs if not (out / f"{name}.npz").exists()]
    failures: dict[str, str] = {}
    if missing:
        _, failures = run_all(_write, {name: (*jobs[name], str(Path(folder).resolve()), str(
            (out / f"{name}.npz").resolve()), seed, later_cycles, both_hands, card, overconfident)
            for name in missing},
            workers, scheduler)
    return Preparation(len(missing) - len(failures), len(jobs) - len(missing), failures)


def _write(row: dict, variant: int, folder: str, path: str, seed: int, later_cycles: int,
           both_hands: bool, card: str | None, overconfident: int) -> None:
    """Prepare and write one file, which appears only when it is complete."""
    coordinates = Path(folder) / f"{row['code']}.cif.gz"
    net = SolventNet.load(card, "cpu", threads=1) if card else None
    arrays = prepare_structure(row, coordinates, variant, seed, later_cycles, both_hands, net,
                               overconfident)
    write_prepared(path, arrays)


def prepare_structure(row: dict, path: str | Path, variant: int, seed: int,
                      later_cycles: int, both_hands: bool = False, net: SolventNet | None = None,
                      overconfident: int = 1) -> dict:
    """The arrays of one prepared file.

    Parameters
    ----------
    row : line of the index.
    path : of the coordinates.
    variant, seed : choose the experiment.
    later_cycles : number of maps from later cycles of density modification.
    both_hands : add the map of the other hand.
    net : network whose masks make the later maps.
    overconfident : how often it is shown with phases that claim too much.

    Returns
    -------
    See :func:`~.prepared.encode`.
    """
    seeds = seed, zlib.crc32(row["code"].encode()), variant
    rng = np.random.default_rng(seeds)
    structure = gemmi.read_structure(str(path))
    structure.resolution = float(row["resolution"])
    settings = random_settings(structure, rng)
    simulated = simulate_sad(structure, settings, rng)
    phased = phase_sad(simulated.data, simulated.sites, simulated.scatterer,
                       cycles=_REFINEMENT_CYCLES)
    reflections = simulated.data.reflections
    truth = model_mask(structure, empty_grid(reflections.cell, reflections.spacegroup,
                                             TRUTH_SPACING))
    data = PhasedData(reflections, phased.f, phased.sigf, phased.hl, phased.coefficients)
    solvent = float(row["solvent"])
    maps = [_as_phased(data), *later_maps(data, truth, solvent, later_cycles, rng, net)]
    for number in range(overconfident):
        rng = np.random.default_rng((*seeds, number))
        claimed = make_overconfident(data, simulated.sites, rng)
        maps += [_as_phased(claimed), *later_maps(claimed, truth, solvent, later_cycles, rng, net)]
    return encode(row["code"], row["split"], variant, int(row["n_residues"]), solvent, settings, data,
                  truth, simulated.f_true, maps, _other_hand(simulated) if both_hands else None)


def _as_phased(data: PhasedData) -> PreparedMap:
    """The starting map."""
    return PreparedMap(0, data.coefficients,
                       *phi_fom_from_hl(data.hl, data.reflections.allowed_phase))


def _other_hand(simulated: SimulatedSad) -> OtherHand:
    """Map of the same data phased with the other hand of the sites."""
    data, spacegroup = simulated.data, simulated.data.reflections.spacegroup
    sites, other = other_hand(simulated.sites, spacegroup)
    turned = Reflections(data.reflections.cell, other, data.reflections.d_min)
    phased = phase_sad(replace(data, reflections=turned), sites, simulated.scatterer,
                       cycles=_REFINEMENT_CYCLES)
    f_true = enantiomorphic_factors(simulated.f_true, data.reflections)
    return OtherHand(turned, phased.coefficients,
                     map_correlation(phased.coefficients, f_true, turned.multiplicity))


def enantiomorphic_factors(f: np.ndarray, reflections: Reflections) -> np.ndarray:
    """Structure factors (n,) of the enantiomorph by :func:`~crank2_unet.sad.phasing.other_hand`."""
    # x -> t - x makes F(h) its conjugate times exp(2 pi i h.t)
    shift = np.array(reflections.spacegroup.change_of_hand_op().tran) / gemmi.Op.DEN
    return np.conj(f) * np.exp(2j * np.pi * (reflections.hkl @ shift))


def later_maps(data: PhasedData, truth: gemmi.FloatGrid, solvent_content: float, count: int,
               rng: np.random.Generator, net: SolventNet | None) -> list[PreparedMap]:
    """The maps that a network is shown after 1 to ``LATEST_CYCLE`` cycles of density modification, each
    after another number of them.

    Without a network, half the time with the classical mask, otherwise with what stands for masks
    of a network: the true one with smooth errors.
    """
    return [_later_map(data, truth, solvent_content, int(cycles), rng, net)
            for cycles in 1 + rng.choice(LATEST_CYCLE, count, replace=False)]


def _later_map(data: PhasedData, truth: gemmi.FloatGrid, solvent_content: float, cycles: int,
               rng: np.random.Generator, net: SolventNet | None) -> PreparedMap:
    """One of :func:`later_maps`."""
    if net:
        weights = network_weights(data, net, solvent_content)
    elif rng.random() < 0.5:
        weights = VarianceWeights(solvent_content, radius=rng.uniform(4.0, 8.0))
    else:
        weights = FixedWeights(soften(_damage(truth, rng), 1.0))
    result = modify_density(data, weights, cycles)
    # masks are found without the reflections that the modification has filled in
    shown = np.where(data.known, result.next_coefficients, 0)
    return PreparedMap(cycles, shown, result.phi, result.fom)


def _damage(truth: gemmi.FloatGrid, rng: np.random.Generator) -> gemmi.FloatGrid:
    """The true mask with wrong regions some 5 Angstrom wide, most of them near its boundary."""
    noise = like(truth, rng.standard_normal(truth.shape))
    noise.symmetrize_avg()
    smooth = soften(noise, 2.5).array
    # correlation of the masks before and after: about 0.9 to 0.4
    error = rng.uniform(0.1, 0.6) * smooth / smooth.std()
    return cut_at_fraction(like(truth, soften(truth, 2.0).array + error), truth.array.mean(),
                           lowest=False)


def _of_split(index_csv: str | Path, split: str) -> list[dict]:
    """Rows of the index of one split."""
    if split not in SPLITS:
        raise InputError(f'Unknown split "{split}"; choose one of {", ".join(SPLITS)}.')
    with open(index_csv, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    if not rows:
        raise InputError(f'{index_csv} has no structures of split "{split}".')
    return rows


def _refuse_strangers(out: Path, codes: set[str], split: str) -> None:
    """A structure that has since been moved to another split must not stay in a training folder."""
    strangers = sorted(path.name for path in out.glob("*.npz")
                       if path.stem.rsplit("_", 1)[0] not in codes)
    if strangers:
        raise InputError(f'{out} holds {len(strangers)} files of structures that are not of split '
                         f'"{split}", such as {strangers[0]}. Remove them, with their windows.')


def _choose(rows: list[dict], limit: int | None, seed: int, largest_volume: float) -> list[dict]:
    """Rows to prepare, in random order."""
    rows = [row for row in rows if _volume(row) <= largest_volume]
    if not rows:
        raise InputError(f"No structure has a cell of at most {largest_volume:g} cubic Angstrom.")
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in order[:limit]]


def _volume(row: dict) -> float:
    return gemmi.UnitCell(*(float(row[key]) for key in ("a", "b", "c", "al", "be", "ga"))).volume
