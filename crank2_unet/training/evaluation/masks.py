"""Accuracy of the network's masks and solvent contents on prepared structures."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...crystal.filters import local_deviation
from ...crystal.grids import asymmetric_unit, resample
from ...files.output import staged, write_json
from ...network.model_card import ModelCard
from ...network.session import SolventNet
from ...solvent.content import cutoff_for, estimate_solvent
from ...solvent.matthews import Composition, matthews_options
from ..parallel import run_all
from ..preparation.prepared import MAP_KINDS, PreparedStructure, prepared_files
from .metrics import SCORES, Confusion, format_table
from .predictions import predict
from .withheld import KINDS, SHARE, SHELLS, withheld_correlations, withheld_means

RADII = (3.0, 4.0, 5.0, 6.0, 8.0)  # Angstrom, of the local deviation
WORST = 5  # structures named in the report
_CLOSE = 0.1  # a solvent content this far off does not spoil density modification
# upper limits of the bins in which maps are compared
_BINS = {"phase_error": (50, 60, 70, 80), "d_min": (2.0, 2.5, 3.0),
         "solvent": (0.4, 0.5, 0.6, 0.7)}
_TITLES = {"kind": "Map", "phase_error": "Mean phase error (degrees)", "d_min": "Resolution (Angstrom)",
           "solvent": "Solvent content"}
_WITHHELD = (f"Withheld reflections: {SHARE:.0%} are left out of the map, which is modified once with "
             "each mask;\ncomplex correlation with the true ones by resolution (Angstrom)")


def evaluate_masks(prepared: str | Path, card: str | Path, out: str | Path,
                   index_csv: str | Path | None = None, radii: Sequence[float] = RADII,
                   limit: int | None = None, fill_card: bool = False, workers: int = 1,
                   scheduler: str | None = None) -> dict:
    """Compare masks by the network, by local variance and of one class with the truth.

    Masks are cut at the true solvent fraction, so that only the places count, except "unet
    P > 0.5".  The radius of the local variance is the best one for these very maps, in its favour.

    Parameters
    ----------
    prepared : folder of prepared structures that the network was not trained on.
    card : of the network.
    out : folder for ``evaluation.json`` and ``evaluation.png``.
    index_csv : table with columns code and n_chains; the composition given to the estimate of the
        solvent content is then one chain's.  Without it, it is that of the whole asymmetric unit,
        so that one copy is right and Matthews probabilities have less to decide than in practice.
    radii : of the local deviation that are tried, Angstrom.
    limit : number of files used, chosen at random; default: all.
    fill_card : write the overall results into the card, too.
    workers, scheduler : see :func:`~crank2_unet.training.parallel.run_all`.

    Returns
    -------
    The report, as in ``evaluation.json``; :func:`render` shows it.
    """
    card = Path(card).resolve()
    chains = _chains(index_csv) if index_csv else {}
    jobs = {file.stem: (str(file), str(card), tuple(radii), chains)
            for file in prepared_files(prepared, limit)}
    results, failures = run_all(evaluate_file, jobs, workers, scheduler)
    model = ModelCard.read(card)
    report = {"model": {"name": model.name, "version": model.version, "sha256": model.sha256},
              **summarise([record for records in results.values() for record in records]),
              "failures": failures}
    with staged(out) as stage:
        write_json(report, stage / "evaluation.json")
        plot(report, stage / "evaluation.png")
    if fill_card:
        fill_metrics(card, report)
    return report


def evaluate_file(path: str, card: str, radii: tuple, chains: dict[str, int]) -> list[dict]:
    """A record for each map of a prepared file."""
    structure = PreparedStructure.read(path)
    copies = chains.get(structure.code, 1)
    net = SolventNet.load(card, "cpu", threads=1)
    return [{"name": Path(path).stem, **evaluate_map(structure, number, net, radii, copies)}
            for number in range(len(structure.coefficients))]


def evaluate_map(structure: PreparedStructure, number: int, net: SolventNet,
                 radii: Sequence[float], copies: int) -> dict:
    """Scores of all masks of one map and its estimates of the solvent content.

    The composition given to these is that of one of the ``copies`` in the asymmetric unit.

    Returns
    -------
    kind, phase_error, d_min, solvent (of the true mask), masks (method -> scores, see
    :class:`~.metrics.Confusion`; "variance R" for each radius), flat (the same
    against where the true density is flat, "unet" by what density modification uses),
    solvent_content: true (of the modelled mass), estimate (of the program), matthews (its most probable
    option) and unet (the network alone), copies: true, possible (largest number), estimate and
    matthews (most probable ones), and withheld (see :func:`~.withheld.withheld_correlations`).
    """
    reflections = structure.data.reflections
    found, true = predict(structure, number, net)
    logits, solvent = found.solvent, true.solvent
    fraction = solvent.mean()
    masks = {"unet": logits > cutoff_for(logits, fraction), "unet P > 0.5": logits > 0,
             "majority": np.full(solvent.shape, fraction > 0.5)}
    variances = {f"variance {radius:g}": deviation < np.quantile(deviation, fraction)
                 for radius, deviation in _deviations(structure, number, radii).items()}
    flat = {"unet": found.flat > cutoff_for(found.flat, fraction), **variances}
    weights = np.ones(solvent.shape)
    copy = Composition.from_residues(max(1, round(structure.n_residues / copies)))
    options = matthews_options(copy, reflections.cell, reflections.spacegroup, reflections.d_min)
    estimate = estimate_solvent(logits, net.card.cutoffs, options)
    by_matthews = max(options, key=lambda option: option.probability)
    return {"kind": structure.kind(number), "d_min": reflections.d_min,
            "phase_error": float(structure.phase_error[number]), "solvent": float(fraction),
            **{name: {method: Confusion.of_masks(mask, truth, weights).scores()
                      for method, mask in given.items()}
               for name, given, truth in (("masks", {**masks, **variances}, solvent),
                                          ("flat", flat, true.flat))},
            "solvent_content": {
                "true": structure.solvent_matthews, "estimate": estimate.value,
                "matthews": by_matthews.solvent, "unet": estimate.unet.expected},
            "copies": {"true": copies, "possible": options[-1].copies,
                       "estimate": max(estimate.options, key=lambda option: option.joint).copies,
                       "matthews": by_matthews.copies},
            "withheld": withheld_correlations(structure, number, net)}


def _deviations(structure: PreparedStructure, number: int, radii: Sequence[float],
                ) -> dict[float, np.ndarray]:
    """Local deviation at the points of the asymmetric unit of the truth's grid, by radius."""
    density = structure.seen(number).density
    unit = asymmetric_unit(structure.truth)
    return {radius: resample(local_deviation(density, radius), structure.truth).array[unit]
            for radius in radii}


def summarise(records: list[dict]) -> dict:
    """The report of the records of all maps; means are over maps, whatever their size."""
    variances = [method for method in records[0]["masks"] if method.startswith("variance")]
    best = max(variances, key=lambda method: _mean(records, method, "mcc"))
    best_flat = max(variances, key=lambda method: _mean(records, method, "mcc", "flat"))
    methods = ("unet", "unet P > 0.5", best, "majority")
    lost = [r["name"] for r in records if r["masks"]["unet"]["mcc"] < r["masks"][best]["mcc"]]
    worst = sorted(records, key=lambda r: r["masks"]["unet"]["mcc"])
    return {
        "n_maps": len(records), "n_structures": len({r["name"] for r in records}),
        "best_variance": best,
        "overall": {m: {score: _mean(records, m, score) for score in SCORES} for m in methods},
        "flat": {m: {score: _mean(records, m, score, "flat") for score in SCORES}
                 for m in ("unet", best_flat)},
        "withheld": withheld_means(records),
        "bins": {key: _by_bin(records, key, best) for key in _TITLES},
        "solvent_content": {kind: _solvent_errors(records, kind)
                            for kind in ("estimate", "matthews", "unet")},
        "copies": _copies_found([r["copies"] for r in records if r["copies"]["possible"] > 1]),
        "worse_than_variance": len(lost) / len(records),
        "worst": list(dict.fromkeys(r["name"] for r in worst))[:WORST], "maps": records}


def _mean(records: list[dict], method: str, score: str, masks: str = "masks") -> float:
    """Mean score of a mask over maps; maps for which it is not defined do not count."""
    values = np.array([record[masks][method][score] for record in records])
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")


def _by_bin(records: list[dict], key: str, best: str) -> list[dict]:
    """Accuracy and MCC of the masks, and correlations of withheld reflections, in bins of a property of
    the map; empty bins are left out."""
    values = [record[key] for record in records]
    if key == "kind":
        names, place = list(MAP_KINDS), np.array([MAP_KINDS.index(value) for value in values])
    else:
        limits = _BINS[key]
        names = [bin_name(limits, i) for i in range(len(limits) + 1)]
        place = np.searchsorted(limits, values, side="right")
    rows = []
    for i in np.unique(place):
        inside = [record for record, p in zip(records, place) if p == i]
        rows.append({"bin": names[i], "n": len(inside),
                     "majority": _mean(inside, "majority", "accuracy"),
                     **{f"{name}_{score}": _mean(inside, method, score)
                        for score in ("accuracy", "mcc")
                        for name, method in (("variance", best), ("unet", "unet"))},
                     "withheld": withheld_means(inside)})
    return rows


def bin_name(limits: Sequence[float], i: int) -> str:
    """Name of bin ``i`` of ``numpy.searchsorted(limits, values, side="right")``."""
    if i == 0:
        return f"< {limits[0]:g}"
    return f"{limits[i - 1]:g} - {limits[i]:g}" if i < len(limits) else f">= {limits[-1]:g}"


def _solvent_errors(records: list[dict], kind: str) -> dict[str, float]:
    """Error of one estimate of the solvent content."""
    error = np.abs([r["solvent_content"][kind] - r["solvent_content"]["true"] for r in records])
    return {"median_error": float(np.median(error)), "rms_error": float(np.sqrt(np.mean(error**2))),
            "within_0.1": float(np.mean(error <= _CLOSE))}


def _copies_found(records: list[dict[str, int]]) -> dict:
    """How often the right number of copies is the most probable one."""
    return {"n": len(records), **{
        kind: float(np.mean([r[kind] == r["true"] for r in records])) if records else None
        for kind in ("estimate", "matthews")}}


def render(report: dict) -> str:
    """The report as tables in plain text."""
    overall = [[method, *scores.values()] for method, scores in report["overall"].items()]
    parts = [f"{report['n_maps']} maps of {report['n_structures']} files; masks cut at the true "
             "solvent fraction unless P > 0.5 is said",
             format_table(["mask", *SCORES], overall),
             "Flat density: what density modification uses against where the true density is flat",
             format_table(["mask", *SCORES], [[method, *scores.values()]
                                              for method, scores in report["flat"].items()])]
    for key, rows in report["bins"].items():
        names = [name for name in rows[0] if name != "withheld"]
        parts += [_TITLES[key], format_table([name.replace("_", " ") for name in names],
                                             [[row[name] for name in names] for row in rows])]
    parts += [_WITHHELD, format_table(
        ["phase error", "n", *(f"{shell} {kind}" for shell in SHELLS for kind in KINDS)],
        [[name, n, *(means[shell][kind] for shell in SHELLS for kind in KINDS)]
         for name, n, means in (*((row["bin"], row["n"], row["withheld"])
                                  for row in report["bins"]["phase_error"]),
                                ("all", report["n_maps"], report["withheld"]))])]
    copies = report["copies"]
    errors = [[kind, *values.values()] for kind, values in report["solvent_content"].items()]
    parts += ["Solvent content", format_table(["from", "median error", "rms error", "within 0.1"],
                                              errors),
              *([] if not copies["n"] else [
                  f"Number of copies right in {copies['estimate']:.1%} of the {copies['n']} maps whose "
                  f"cells allow several; by Matthews probabilities {copies['matthews']:.1%}"]),
              f"Network worse than local variance in {report['worse_than_variance']:.1%} of the "
              f"maps.  Worst masks: {', '.join(report['worst'])}"]
    if report["failures"]:
        parts.append(f"Failed: {', '.join(report['failures'])}")
    return "\n\n".join(parts)


def plot(report: dict, path: Path) -> None:
    """Picture of the accuracy of both masks against the phase error."""
    from matplotlib.figure import Figure

    figure = Figure((6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    errors = [record["phase_error"] for record in report["maps"]]
    for method, label in ((report["best_variance"], f"{report['best_variance']} Angstrom"),
                          ("unet", "network"), ("majority", "majority class")):
        accuracy = [record["masks"][method]["accuracy"] for record in report["maps"]]
        axes.plot(errors, accuracy, ".", markersize=5, alpha=0.7, label=label)
    axes.set(xlabel="mean phase error (degrees)", ylabel="accuracy of the mask")
    axes.legend()
    figure.savefig(path)


def fill_metrics(card: Path, report: dict) -> None:
    """Write the overall results into a model card."""
    content = json.loads(card.read_text())
    content["metrics"] = {key: report[key] for key in (
        "n_maps", "n_structures", "best_variance", "overall", "flat", "withheld", "solvent_content",
        "copies", "worse_than_variance", "worst")}
    with staged(card.parent) as stage:
        write_json(content, stage / card.name)


def _chains(index_csv: str | Path) -> dict[str, int]:
    """Number of chains by code."""
    with open(index_csv, newline="") as file:
        return {row["code"]: int(row["n_chains"]) for row in csv.DictReader(file)}
