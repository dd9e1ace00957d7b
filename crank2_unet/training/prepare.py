"""Training maps: deposited structures become SAD-phased maps with their true solvent masks.

One file for each structure and variant, so that an interrupted run is continued by repeating it.
Work goes through Dask: the same call runs on the cores of one machine or on a cluster.
"""

from __future__ import annotations

import csv
import json
import os
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Iterator

import gemmi
import numpy as np
from dask.distributed import Client, LocalCluster, as_completed
from tqdm import tqdm

from ..errors import InputError
from ..grids import empty_grid
from ..masks import model_mask
from ..phases import map_correlation, mean_phase_error, to_complex
from ..sad import SadResult, phase_sad
from ..simulation import SimulatedSad, simulate_sad
from .experiments import random_settings

SPLITS = ("train", "validation", "test")
TRUTH_SPACING = 1.0  # Angstrom, that of the network's windows
# 5 % of the depositions are larger and would take a third of the time for maps no different
LARGEST_VOLUME = 1.8e6  # of the cell, cubic Angstrom
_REFINEMENT_CYCLES = 2  # of the sites: most of the gain of more


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
            limit: int | None = None, variants: int = 1, seed: int = 0, workers: int = 1,
            scheduler: str | None = None) -> Preparation:
    """Write one ``<code>_<variant>.npz`` for each structure of a split and each variant.

    Files that exist are kept; failures are reported, not fatal.  The content of a file depends on
    seed, code and variant only.

    Parameters
    ----------
    index_csv : table with columns code, split, resolution, solvent, n_residues and the cell.
    folder : holds ``<code>.cif.gz``.
    out : folder of the results, created if need be.
    split : "train", "validation" or "test".
    limit : number of structures, chosen at random; None takes all.
    variants : number of simulated experiments for each structure.
    workers : processes on this machine.
    scheduler : address of a Dask scheduler; then ``workers`` is not used.

    Raises
    ------
    InputError : unknown split, or no structures in it.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(row, variant) for row in _choose(index_csv, split, limit, seed)
            for variant in range(variants)]
    paths = {f"{row['code']}_{variant}": out / f"{row['code']}_{variant}.npz"
             for row, variant in jobs}
    missing = [(row, variant) for row, variant in jobs
               if not paths[f"{row['code']}_{variant}"].exists()]
    failures = {}
    with _client(workers, scheduler) as client:
        futures = {client.submit(write_prepared, row, str(Path(folder).resolve()),
                                 str(out.resolve()), variant, seed, pure=False, retries=0):
                   f"{row['code']}_{variant}" for row, variant in missing}
        done = as_completed(futures)
        for future in tqdm(done, total=len(futures), unit="map", desc=f"preparing {split}"):
            if future.status != "finished":
                failures[futures[future]] = f"{future.exception()}" or future.status
            future.release()
    return Preparation(len(missing) - len(failures), len(jobs) - len(missing), failures)


def write_prepared(row: dict, folder: str, out: str, variant: int, seed: int) -> None:
    """Simulate, phase and write one structure; the file appears only when it is complete."""
    path = Path(out) / f"{row['code']}_{variant}.npz"
    arrays = prepare_structure(row, Path(folder) / f"{row['code']}.cif.gz", variant, seed)
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        np.savez(file, **arrays)
    os.replace(part, path)


def prepare_structure(row: dict, path: str | Path, variant: int, seed: int) -> dict:
    """The arrays of one prepared file.

    Parameters
    ----------
    row : line of the index.
    path : of the coordinates.
    variant, seed : choose the experiment.

    Returns
    -------
    code, variant, cell (6), spacegroup, d_min; f, sigf (n,) and hl (n, 4); coefficients (m, n) of m
    maps with map_cycle, phase_error (degrees), map_cc and fom (m,) each; truth (packed bits of
    the solvent mask) and truth_shape; solvent_mask and solvent_matthews; n_residues; settings (JSON).
    """
    rng = np.random.default_rng((seed, zlib.crc32(row["code"].encode()), variant))
    structure = gemmi.read_structure(str(path))
    structure.resolution = float(row["resolution"])
    settings = random_settings(structure, rng)
    simulated = simulate_sad(structure, settings, rng)
    phased = phase_sad(simulated.data, simulated.sites, simulated.scatterer,
                       cycles=_REFINEMENT_CYCLES)
    reflections = simulated.data.reflections
    truth = model_mask(structure, empty_grid(reflections.cell, reflections.spacegroup,
                                             TRUTH_SPACING))
    return {
        "code": row["code"], "variant": variant, "n_residues": int(row["n_residues"]),
        "solvent_matthews": float(row["solvent"]), "settings": json.dumps(asdict(settings)),
        "cell": np.array(reflections.cell.parameters), "d_min": reflections.d_min,
        "spacegroup": reflections.spacegroup.xhm(),
        "f": phased.f.astype(np.float32), "sigf": phased.sigf.astype(np.float32),
        "hl": phased.hl.astype(np.float32),
        "truth": np.packbits(truth.array > 0.5), "truth_shape": np.array(truth.shape),
        "solvent_mask": float(truth.array.mean()), **_maps(simulated, phased)}


def _maps(simulated: SimulatedSad, phased: SadResult) -> dict:
    """Coefficients of the maps and how good they are."""
    reflections = simulated.data.reflections
    measured = np.isfinite(phased.f)
    start = to_complex(np.where(measured, phased.fom * phased.f, 0.0), phased.phi)
    error = mean_phase_error(phased.phi[measured], np.rad2deg(np.angle(simulated.f_true[measured])))
    return {"coefficients": start[None].astype(np.complex64), "map_cycle": np.array([0]),
            "phase_error": np.array([error]), "fom": np.array([phased.fom[measured].mean()]),
            "map_cc": np.array([map_correlation(start, simulated.f_true,
                                                reflections.multiplicity)])}


def _choose(index_csv: str | Path, split: str, limit: int | None, seed: int) -> list[dict]:
    """Rows of the index to prepare, in random order."""
    if split not in SPLITS:
        raise InputError(f'Unknown split "{split}"; choose one of {", ".join(SPLITS)}.')
    with open(index_csv, newline="") as file:
        rows = [row for row in csv.DictReader(file)
                if row["split"] == split and _volume(row) <= LARGEST_VOLUME]
    if not rows:
        raise InputError(f'{index_csv} has no structures of split "{split}".')
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in order[:limit]]


def _volume(row: dict) -> float:
    return gemmi.UnitCell(*(float(row[key]) for key in ("a", "b", "c", "al", "be", "ga"))).volume


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Client]:
    """A Dask client of a running scheduler or of processes started here."""
    if scheduler:
        with Client(scheduler) as client:
            yield client
    else:
        with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as local:
            with Client(local) as client:
                yield client
