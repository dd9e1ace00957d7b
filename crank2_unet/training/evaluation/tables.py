"""What the records of a validation tell, as tables: on the page, in plain text and for figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .mask_runs import MASKS
from .metrics import SCORES, format_table
from .scores import SHELLS

CLEAR = 1.0  # degrees; less is no difference that matters
HONEST = 0.1  # figure of merit less mean cosine that is no longer honest
# upper limits of the classes of the difference of solvent contents, with the network and without it
CLASSES = (0.05, 0.1)
# upper limits of bins of the error of the starting phases, degrees, and of the resolution, Angstrom
_BINS = {"start": (60.0, 65.0, 70.0, 75.0, 80.0), "d_min": (1.75, 2.0, 2.5, 3.0)}
_WORST = 5  # data sets named
_RESAMPLED = 2000
_CLOSE = 0.1  # a solvent content this far off does not spoil density modification
_GROUPS = ("acentric", "centric")


@dataclass(frozen=True)
class Table:
    """A title, names of columns, rows of words and numbers (None is shown as "-"), and a remark."""

    title: str
    header: list[str]
    rows: list[list]
    note: str = ""

    def __str__(self) -> str:
        return "\n\n".join(filter(None, [self.title, self.note, format_table(self.header, self.rows)]))


def make_tables(report: dict) -> list[Table]:
    """All tables of a report of :func:`~.validate.validate` that has anything to show in them."""
    makers = (_medians, _pairs, _classes, *(_binned(key) for key in _BINS), _shells, _honesty, _start,
              _solvent, _segmentation, _building, _worst, _entries, _cost)
    tables = [maker(report) for maker in makers]
    return [table for table in tables if table.rows]


def groups(report: dict) -> dict[str, dict]:
    """Entries by kind, measured data sets first."""
    kinds = sorted({entry["kind"] for entry in report["entries"].values()})
    return {kind: {name: entry for name, entry in report["entries"].items() if entry["kind"] == kind}
            for kind in kinds}


def methods(report: dict) -> list[str]:
    """Names of the runs of each entry."""
    return list(next(iter(report["entries"].values()))["runs"])


def column(entries: dict, run: str, score: str) -> np.ndarray:
    """A score of a run for each entry; NaN where there is none."""
    return np.array([np.nan if (value := entry["runs"][run].get(score)) is None else value
                     for entry in entries.values()], float)


def gain(entries: dict, tested: str, against: str) -> np.ndarray:
    """By how many degrees the phases of a run are better, for each entry."""
    return column(entries, against, "phase_error") - column(entries, tested, "phase_error")


def solvent_difference(entries: dict) -> np.ndarray:
    """Solvent content with the network less the most probable one without it, for each entry."""
    return np.array([entry["solvent"]["network"] - entry["solvent"]["matthews"]
                     for entry in entries.values()])


def solvent_classes(entries: dict) -> tuple[np.ndarray, list[str]]:
    """Number of the class of the solvent difference of each entry, and the names of the classes."""
    low, high = CLASSES
    return (np.searchsorted(CLASSES, np.abs(solvent_difference(entries))),
            [f"less than {low:g}", f"{low:g} to {high:g}", f"more than {high:g}"])


def interval(values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """95 % bootstrap interval of a statistic over entries.

    Parameters
    ----------
    statistic : of the last axis of an array.
    """
    rng = np.random.default_rng(0)
    found = statistic(values[rng.integers(len(values), size=(_RESAMPLED, len(values)))])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _share(hits: np.ndarray) -> str:
    """Number and percentage with its bootstrap interval."""
    low, high = interval(hits, lambda x: x.mean(axis=-1))
    return f"{hits.sum()} = {hits.mean():.0%} ({low:.0%} to {high:.0%})"


def _medians(report: dict) -> Table:
    keys = ("phase_error", "weighted_error", "cc", "cc_filled", "fom", "cos")
    rows = []
    for kind, entries in groups(report).items():
        for run in methods(report):
            scores = {key: column(entries, run, key) for key in keys}
            rows.append([kind, run, len(entries), float(scores["phase_error"].mean()),
                         *(_median(values) for values in scores.values()),
                         float(np.median(abs(scores["fom"] - scores["cos"])))])
    said = [f"{name}: {MASKS[name]}" for name in methods(report) if name in MASKS]
    said += [f"{name}: {text}" for name, text in zip("ab", report["settings"]["commands"])]
    return Table("Phases and maps: mean phase error and medians", [
        "data", "run", "n", "mean error", "error", "F-weighted", "cc", "cc filled", "fom", "cos",
        "|fom-cos|"], rows, "Errors in degrees over measured reflections; cc: correlation of the m|F| "
        "map, and with filled-in reflections of the program's map, with that of the model; cos: mean "
        "cosine of the phase error, which an honest figure of merit equals. " + "; ".join(said) + ".")


def _pairs(report: dict) -> Table:
    rows = []
    for kind, entries in groups(report).items():
        for tested, against in report["pairs"]:
            better = gain(entries, tested, against)
            low, high = interval(better, lambda x: np.median(x, axis=-1))
            rows.append([kind, f"{tested} / {against}", len(better), _share(better > 0),
                         _share(better > CLEAR), _share(better < -CLEAR),
                         f"{np.median(better):+.2f} ({low:+.2f} to {high:+.2f})",
                         float(better.mean())])
    return Table("Compared by phase error", ["data", "run / against", "n", "better",
                 f"by > {CLEAR:g} degree", f"worse by > {CLEAR:g} degree", "median gain", "mean gain"],
                 rows, "Intervals hold 95 % of bootstrap samples of the data sets.")


def _classes(report: dict) -> Table:
    rows = []
    for kind, entries in groups(report).items():
        number, names = solvent_classes(entries)
        for tested, against in report["pairs"]:
            better = gain(entries, tested, against)
            rows += [[kind, f"{tested} / {against}", name, int((number == i).sum()),
                      float((better[number == i] > 0).mean()), float(np.median(better[number == i]))]
                     for i, name in enumerate(names) if (number == i).any()]
    return Table("By difference of solvent content, with the network and by Matthews alone",
                 ["data", "run / against", "difference", "n", "better", "median gain"], rows)


def _binned(key: str) -> Callable[[dict], Table]:
    """Maker of a table of means in bins of the starting phase error or of the resolution."""
    def table(report: dict) -> Table:
        rows = []
        for kind, entries in groups(report).items():
            values = (column(entries, "start", "phase_error") if key == "start"
                      else np.array([entry["d_min"] for entry in entries.values()]))
            place = np.searchsorted(_BINS[key], values, side="right")
            for i in np.unique(place):
                inside = [float(column(entries, run, score)[place == i].mean())
                          for score in ("phase_error", "cc") for run in methods(report)]
                rows.append([kind, _bin_name(_BINS[key], i), int((place == i).sum()), *inside])
        what = "phase error of the start (degrees)" if key == "start" else "resolution (Angstrom)"
        names = [f"{run} {score}" for score in ("error", "cc") for run in methods(report)]
        return Table(f"Means by {what}", ["data", "bin", "n", *names], rows)
    return table


def _bin_name(limits: Sequence[float], i: int) -> str:
    edges = ["", *(f"{limit:g}" for limit in limits), ""]
    return f"{edges[i]} - {edges[i + 1]}".strip() if edges[i] and edges[i + 1] else (
        f"< {edges[i + 1]}" if not edges[i] else f">= {edges[i]}")


def in_shells(entries: dict, run: str, group: str, score: str) -> list[tuple[float, float, int]]:
    """Mean of a score over the entries in each resolution shell: its d_min, the mean, their number."""
    means = []
    for d_min in SHELLS[1:]:
        found = [shell[group][score] for entry in entries.values()
                 for shell in entry["runs"][run]["shells"] if shell["d_min"] == d_min and shell[group]]
        if found:
            means.append((d_min, float(np.mean(found)), len(found)))
    return means


def _shells(report: dict) -> Table:
    rows = []
    for kind, entries in groups(report).items():
        for group in _GROUPS:
            for run in methods(report):
                columns = [in_shells(entries, run, group, score)
                           for score in ("phase_error", "cc", "fom", "cos")]
                rows += [[kind, group, run, _shell_name(shell[0][0]), shell[0][2],
                          *(mean for _, mean, _ in shell)] for shell in zip(*columns)]
    return Table("By resolution shell: means over data sets", [
        "data", "reflections", "run", "shell", "n", "error", "cc", "fom", "cos"], rows)


def _shell_name(d_min: float) -> str:
    d_max = SHELLS[SHELLS.index(d_min) - 1]
    return f"{d_max:g} - {d_min:g} A" if d_min and np.isfinite(d_max) else (
        f"> {d_min:g} A" if d_min else f"< {d_max:g} A")


def _honesty(report: dict) -> Table:
    rows = []
    for kind, entries in groups(report).items():
        for run in methods(report):
            excess = column(entries, run, "fom") - column(entries, run, "cos")
            inside = [shell[group]["fom"] - shell[group]["cos"] for entry in entries.values()
                      for shell in entry["runs"][run]["shells"] for group in _GROUPS if shell[group]]
            worst = int(np.argmax(abs(excess)))
            rows.append([kind, run, float(np.median(abs(excess))), float(excess[worst]),
                         list(entries)[worst], len(inside),
                         float(np.mean(np.abs(inside) > HONEST))])
    return Table("Honesty: mean figure of merit less mean cosine of the phase error", [
        "data", "run", "median size", "worst", "of", "shells", f"share off by > {HONEST:g}"], rows)


def _start(report: dict) -> Table:
    """Honesty of the starting phases of each data set, by shell."""
    def excess(shell: dict) -> float:
        found = [shell[group] for group in _GROUPS if shell[group]]
        return float(np.average([means["fom"] - means["cos"] for means in found],
                                weights=[means["n"] for means in found]))

    rows, used = [], set()
    for entries in groups(report).values():
        for name, entry in entries.items():
            start = entry["runs"]["start"]
            shells = {shell["d_min"]: excess(shell) for shell in start["shells"]}
            used |= set(shells)
            rows.append([name, start["fom"], start["cos"], start["fom"] - start["cos"], shells])
    limits = [d_min for d_min in SHELLS[1:] if d_min in used]
    return Table("Honesty of the starting phases: fom less cos, by shell",
                 ["name", "fom", "cos", "less", *map(_shell_name, limits)],
                 [[*row, *(shells.get(d_min) for d_min in limits)] for *row, shells in rows])


def _solvent(report: dict) -> Table:
    rows = []
    for kind, entries in groups(report).items():
        for source in ("network", "matthews"):
            error = np.array([entry["solvent"][source] - entry["solvent"]["true"]
                              for entry in entries.values()])
            rows.append([kind, source, len(error), float(np.median(abs(error))),
                         float(np.sqrt(np.mean(error**2))), float(np.mean(abs(error) <= _CLOSE))])
    return Table("Solvent content", ["data", "from", "n", "median error", "rms error", "within 0.1"],
                 rows, "matthews: the most probable one by the cell and the composition alone; that of "
                 "prepared data sets is the whole content, so that there is nothing to decide.")


def _segmentation(report: dict) -> Table:
    rows = []
    for kind, entries in groups(report).items():
        for mask in ("network", "variance"):
            scores = {score: np.array([np.nan if entry["segmentation"][mask][score] is None else
                                       entry["segmentation"][mask][score]
                                       for entry in entries.values()], float) for score in SCORES}
            rows.append([kind, mask, len(entries),
                         *(float(np.nanmean(values)) for values in scores.values())])
    return Table("Segmentation of the starting maps: means", ["data", "mask", "n", *SCORES], rows,
                 "Against the mask of the model, solvent being the positive class; both masks have the "
                 "solvent content found. majority: accuracy of one class everywhere.")


def _building(report: dict) -> Table:
    rows = []
    for kind, entries in groups(report).items():
        for run in methods(report):
            values = column(entries, run, "r_free")
            if np.isfinite(values).any():
                rows.append([kind, run, int(np.isfinite(values).sum()), float(np.nanmedian(values)),
                             int((values < 0.4).sum())])
    return Table("Model building", ["data", "run", "n", "median R-free", "below 0.4"], rows)


def _worst(report: dict) -> Table:
    rows = []
    for kind, entries in groups(report).items():
        for tested, against in report["pairs"]:
            better = gain(entries, tested, against)
            rows += [[kind, f"{tested} / {against}", list(entries)[i], float(better[i]),
                      *(float(column(entries, run, "phase_error")[i])
                        for run in ("start", against, tested))] for i in np.argsort(better)[:_WORST]]
    return Table("The least gains",
                 ["data", "run / against", "name", "gain", "start", "against", "run"], rows,
                 "Mean phase errors and gains in degrees.")


def _entries(report: dict) -> Table:
    runs = methods(report)
    rows = [[name, entry["spacegroup"], entry["d_min"], entry["solvent"]["network"],
             entry["solvent"]["true"], *(entry["runs"][run][score] for score in ("phase_error", "cc")
                                         for run in runs),
             *(entry["runs"][run]["fom"] - entry["runs"][run]["cos"] for run in runs[1:2])]
            for entries in groups(report).values() for name, entry in entries.items()]
    return Table("All data sets", ["name", "group", "d_min", "solvent", "true", *(
        f"{run} {score}" for score in ("error", "cc") for run in runs),
        *(f"{run} fom-cos" for run in runs[1:2])], rows)


def _cost(report: dict) -> Table:
    """CPU seconds of each stage, for plans."""
    rows = []
    for kind, entries in groups(report).items():
        names = next(iter(entries.values()))["seconds"]
        rows += [[kind, name, float(np.median(spent)), float(np.sum(spent))] for name in names
                 for spent in [[entry["seconds"].get(name, 0.0) for entry in entries.values()]]]
    return Table("CPU seconds", ["data", "stage", "median", "all"], rows)


def _median(values: np.ndarray) -> float | None:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else None
