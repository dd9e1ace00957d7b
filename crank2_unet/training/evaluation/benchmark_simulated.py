"""The test of the paper's Fig. 1(a): density modification of unseen simulated data sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...files.output import staged, write_json
from ...network.model_card import ModelCard
from ...network.session import SolventNet
from ..parallel import run_all
from ..preparation.prepared import PreparedHeader, prepared_files
from .benchmark_measured import BLURS, METHODS, RADII, Case, compare_masks
from .masks import bin_name
from .metrics import format_table

# degrees, of the starting phases: below, any mask will do; above, none does
ERRORS = (45.0, 85.0)
# upper limits of bins: degrees, of the starting phases; Angstrom
_BINS = {"start": (60.0, 65.0, 70.0, 75.0, 80.0), "d_min": (1.75, 2.0, 2.5, 3.0)}
_CLEAR = 1.0  # degrees; less is no difference that matters
_WORST = 5  # data sets named in the report
_REFERENCES = ("variance", "best variance")


def benchmark_simulated(folders: Sequence[str | Path], card: str | Path | None, out: str | Path,
                        cycles: int = 10, limit: int | None = None,
                        largest_volume: float = np.inf,
                        errors: tuple[float, float] = ERRORS, workers: int = 1,
                        scheduler: str | None = None, radii: Sequence[float] = RADII,
                        blurs: Sequence[float] = BLURS) -> dict:
    """Compare masks by what density modification makes of them, over many data sets.

    The result of each set is kept in ``out/sets``, so that an interrupted run, or one with a larger
    ``limit``, continues; results by another model or with other settings are made anew.

    Parameters
    ----------
    folders : of prepared structures that the network was not trained on.
    card : of the network; None: the packaged one.
    out : folder for ``simulated.json``, ``simulated.png`` and ``sets``.
    cycles : of density modification.
    limit : number of data sets, chosen at random; None takes all.
    largest_volume : of the cell, cubic Angstrom.
    errors : range of the mean error of the starting phases, degrees.
    workers, scheduler : see :func:`~crank2_unet.training.parallel.run_all`.
    radii, blurs : Angstrom, tried for the variance mask beside the default one.

    Returns
    -------
    The report, as in ``simulated.json``; :func:`render` shows it.

    Raises
    ------
    InputError : no data set is within the limits, or one is in two folders.
    """
    model = ModelCard.read(card)
    files = choose(folders, errors, largest_volume, limit)
    kept = Path(out).resolve() / "sets"
    settings = {"model": model.sha256, "cycles": cycles,
                "grid": [list(pair) for pair in product(radii, blurs)]}
    jobs = {file.stem: (str(file), str(model.path.resolve()), settings, str(kept)) for file in files}
    sets, failures = run_all(benchmark_file, jobs, workers, scheduler)
    report = {"model": {"name": model.name, "version": model.version, "sha256": model.sha256},
              "cycles": cycles, "errors": list(errors), **summarise(sets), "sets": sets,
              "failures": failures}
    with staged(out) as stage:
        write_json(report, stage / "simulated.json")
        plot(report, stage / "simulated.png")
    return report


def choose(folders: Sequence[str | Path], errors: tuple[float, float], largest_volume: float,
           limit: int | None, seed: int = 0) -> list[Path]:
    """Prepared files within the limits, or ``limit`` of them chosen at random."""
    files: dict[str, Path] = {}
    for file in (file for folder in folders for file in prepared_files(folder)):
        if file.stem in files:
            raise InputError(f"{file.stem} is in two folders, {files[file.stem].parent} and "
                             f"{file.parent}. Give each data set once.")
        files[file.stem] = file
    fit = [file for file in files.values() if _fits(file, errors, largest_volume)]
    if not fit:
        raise InputError(f"None of the {len(files)} prepared structures has a phase error of "
                         f"{errors[0]:g}-{errors[1]:g} degrees and a cell of at most "
                         f"{largest_volume:g} cubic Angstrom. Widen the limits.")
    order = np.random.default_rng(seed).permutation(len(fit))
    return [fit[i] for i in order[:limit]]


def _fits(path: Path, errors: tuple[float, float], largest_volume: float) -> bool:
    header = PreparedHeader.read(path)
    return errors[0] <= header.phase_error[0] <= errors[1] and header.cell.volume <= largest_volume


def benchmark_file(path: str, card: str, settings: dict, kept: str) -> dict:
    """:func:`~.benchmark_measured.compare_masks` of a prepared file, unless it is kept."""
    result = Path(kept) / f"{Path(path).stem}.json"
    if result.exists():
        found = json.loads(result.read_text())
        if found["settings"] == settings:
            return found
    case = Case.of_prepared(path)
    compared = compare_masks(case, SolventNet.load(card, "cpu", threads=1), settings["cycles"],
                             settings["grid"])
    with staged(kept) as stage:
        write_json({"settings": settings, **compared}, stage / result.name)
    return json.loads(result.read_text())


def summarise(sets: dict[str, dict]) -> dict:
    """What the paper says of its 137 sets, and the share of the gain of the model's mask.

    Returns
    -------
    n; medians (method -> phase_error and cc); bins (for "start" and "d_min" rows of means over the
    sets of a range of starting phase errors or resolutions, with the median share of the gain of
    the model's mask); against (reference mask -> better, worse_clearly, better_clearly (shares of the
    sets, by phase error; clearly: by more than one degree), median (degrees gained) and worst
    (name -> degrees gained)); share_of_gain (n and median).
    """
    def column(method: str, score: str) -> np.ndarray:
        return np.array([found["methods"][method][score] for found in sets.values()])

    shares = [found["share"] for found in sets.values() if found["share"] is not None]
    return {"n": len(sets),
            "medians": {method: {score: float(np.median(column(method, score)))
                                 for score in ("phase_error", "cc")} for method in METHODS},
            "bins": {key: _by_bin(list(sets.values()), key) for key in _BINS},
            "against": {method: _against(list(sets), column(method, "phase_error")
                                         - column("unet", "phase_error"))
                        for method in _REFERENCES},
            "share_of_gain": {"n": len(shares),
                              "median": float(np.median(shares)) if shares else None}}


def _by_bin(sets: list[dict], key: str) -> list[dict]:
    """Means in bins of the starting phase error or resolution; empty bins are left out."""
    def mean(found: list[dict], method: str, score: str) -> float:
        return float(np.mean([one["methods"][method][score] for one in found]))

    place = np.searchsorted(_BINS[key], [
        found["d_min"] if key == "d_min" else found["methods"][key]["phase_error"] for found in sets],
                            side="right")
    rows = []
    for i in np.unique(place):
        inside = [found for found, p in zip(sets, place) if p == i]
        shares = [found["share"] for found in inside if found["share"] is not None]
        rows.append({key: bin_name(_BINS[key], i), "n": len(inside),
                     **{f"{method} error": mean(inside, method, "phase_error")
                        for method in METHODS if method != "start"},
                     **{f"{method} cc": mean(inside, method, "cc") for method in ("variance", "unet")},
                     "share": float(np.median(shares)) if shares else None})
    return rows


def _against(names: list[str], gain: np.ndarray) -> dict:
    """The network's mask against another; ``gain`` is by how many degrees its phases are better."""
    return {"better": float(np.mean(gain > 0)), "worse_clearly": float(np.mean(gain < -_CLEAR)),
            "better_clearly": float(np.mean(gain > _CLEAR)), "median": float(np.median(gain)),
            "worst": {names[i]: float(gain[i]) for i in np.argsort(gain)[:_WORST]}}


def render(report: dict) -> str:
    """The report as tables in plain text."""
    low, high = report["errors"]
    medians = [[method, *scores.values()] for method, scores in report["medians"].items()]
    against = [[method, *(found[key] for key in ("better", "better_clearly", "worse_clearly",
                                                 "median"))]
               for method, found in report["against"].items()]
    share = report["share_of_gain"]
    parts = [f"{report['n']} data sets with starting phase errors of {low:g}-{high:g} degrees, "
             f"{report['cycles']} cycles; medians",
             format_table(["mask", "phase error", "map cc"], medians),
             "Means by starting phase error, degrees, and by resolution, Angstrom; share: of the gain "
             "of the true mask, median",
             *(format_table(list(rows[0]), [list(row.values()) for row in rows])
               for rows in report["bins"].values()),
             "Network against local variance: share of the sets with lower phase errors",
             format_table(["against", "better", f"by > {_CLEAR:g} deg", f"worse by > {_CLEAR:g} deg",
                           "median gain"], against)]
    for method, found in report["against"].items():
        worst = (f"{name} {gain:+.1f}" for name, gain in found["worst"].items())
        parts.append(f"Least gain against {method}, degrees: {', '.join(worst)}")
    if share["n"]:
        parts.append("Share of the gain of the true mask over the best variance mask, median of the "
                     f"{share['n']} sets where it gains enough: {share['median']:.2f}")
    parts += [f"{name} failed: {message}" for name, message in report["failures"].items()]
    return "\n\n".join(parts)


def plot(report: dict, path: Path) -> None:
    """Phase error with the network's mask against that with local variance, as in the paper."""
    from matplotlib.figure import Figure

    figure = Figure((9.0, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    sets = report["sets"].values()
    start, unet = ([found["methods"][method]["phase_error"] for found in sets]
                   for method in ("start", "unet"))
    for axes, method in zip(panels, _REFERENCES):
        other = [found["methods"][method]["phase_error"] for found in sets]
        ends = [min(other + unet) - 1, max(other + unet) + 1]
        axes.plot(ends, ends, color="grey", linewidth=0.8)
        points = axes.scatter(other, unet, c=start, s=14)
        axes.set(xlabel=f"phase error (degrees), {method}", aspect="equal")
    panels[0].set_ylabel("phase error (degrees), network")
    figure.colorbar(points, ax=panels, label="phase error before (degrees)")
    figure.savefig(path)
