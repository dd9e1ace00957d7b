"""Which charts a result has, and what is said where a chart would show nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .charts import Axis, Bars, Chart, Curve
from .words import show

# title, term, label of the axis and curves: key of a cycle -> label
_BY_CYCLE = (
    ("Figure of merit", "fom", "figure of merit", {"fom": "figure of merit"}),
    ("Agreement with amplitudes", "free", "correlation",
     {"work_correlation": "measured amplitudes", "free_correlation": "held back"}),
    ("Trust", "trust", "share believed",
     {"agreement_trust": "agreement with amplitudes", "phase_trust": "given phases"}),
    ("Phase change", "phase_change", "degrees", {"phase_change": "phase change"}),
    ("NCS", "ncs", "correlation", {"ncs_correlation": "correlation of copies"}),
)
# the same by resolution; two keys: of acentric or centric reflections
_BY_RESOLUTION = (
    ("Figure of merit", "fom", "figure of merit",
     {("acentric", "fom"): "acentric", ("centric", "fom"): "centric"}),
    ("Phase change from the start", "phase_change", "degrees",
     {("acentric", "phase_change"): "acentric", ("centric", "phase_change"): "centric"}),
    ("Agreement with amplitudes", "free", "correlation",
     {("work_correlation",): "measured amplitudes", ("free_correlation",): "held back"}),
    ("Sigma-A", "sigma_a", "sigma-A", {("sigma_a",): "sigma-A"}),
)
_BY_SHELL_OF_PHASING = (
    ("Figure of merit", "fom", "figure of merit", {("fom",): "figure of merit"}),
    ("Phasing power", "phasing_power", "phasing power", {("phasing_power",): "phasing power"}),
    ("Anomalous differences", "phasing_power", "root mean square",
     {("rms_dano",): "measured", ("rms_calculated",): "by the sites", ("rms_error",): "unexplained"}),
)


@dataclass(frozen=True)
class Plots:
    """Charts, sentences on what does not change, and the rows of a table of all numbers."""

    charts: list[Chart]
    sentences: list[str]
    rows: list[dict]


def cycle_plots(cycles: Sequence[Mapping]) -> Plots:
    """What the cycles of density modification report."""
    numbers = [cycle.get("cycle", i) for i, cycle in enumerate(cycles, 1)]
    columns = {key: [cycle.get(key) for cycle in cycles] for *_, keys in _BY_CYCLE for key in keys}
    axis = Axis.of_cycles(len(cycles))
    charts, sentences = _drawn(_BY_CYCLE, columns, numbers, axis, "in all cycles")
    marks = _beyond_data(cycles)
    return Plots([replace(chart, marks=marks) for chart in charts], sentences, _table(cycles))


def _beyond_data(cycles: Sequence[Mapping]) -> list[tuple[float, str]]:
    """Where cycles with reflections beyond the data begin."""
    limits = [cycle.get("d_min") for cycle in cycles]
    return [(number + 0.5, f"then filled in to {after:.2f} Å")
            for number, (before, after) in enumerate(zip(limits, limits[1:]), 1)
            if before and after and after < before]


def resolution_plots(shells: Sequence[Mapping]) -> Plots:
    """Density modification by resolution; see :mod:`..modification.shell_statistics`."""
    return _by_resolution(_BY_RESOLUTION, shells)


def phasing_plots(bins: Sequence[Mapping]) -> Plots:
    """Phasing by resolution."""
    return _by_resolution(_BY_SHELL_OF_PHASING, bins)


def _by_resolution(wanted: tuple, shells: Sequence[Mapping]) -> Plots:
    if not shells:
        return Plots([], [], [])
    middles = [(shell["d_max"] ** -2 + shell["d_min"] ** -2) / 2 for shell in shells]
    columns = {key: [_under(shell, key) for shell in shells] for *_, keys in wanted for key in keys}
    axis = Axis.of_resolution(min(shell["d_min"] for shell in shells))
    charts, sentences = _drawn(wanted, columns, middles, axis, "at all resolutions")
    return Plots(charts, sentences, _table(shells))


def _table(rows: Sequence[Mapping]) -> list[dict]:
    """Rows without columns that are empty; what is nested gets columns of its own."""
    flat: list[dict] = [{} for _ in rows]
    for row, out in zip(rows, flat):
        for key, value in row.items():
            out.update({f"{key}_{name}": x for name, x in value.items()} if isinstance(value, Mapping)
                       else {key: value})
    return [{key: value for key, value in row.items()
             if any(other.get(key) is not None for other in flat)} for row in flat]


def _under(shell: Mapping, keys: tuple[str, ...]) -> float | None:
    value: Any = shell
    for key in keys:
        value = (value or {}).get(key)
    return value


def _drawn(wanted: tuple, columns: Mapping, x: Sequence[float], axis: Axis, everywhere: str,
           ) -> tuple[list[Chart], list[str]]:
    """Charts of what changes along ``x``, and sentences on what is the same everywhere."""
    charts: list[Chart] = []
    sentences: list[str] = []
    for title, term, label, keys in wanted:
        curves = []
        for key, name in keys.items():
            known = [value for value in columns[key] if value is not None]
            if len({show(value) for value in known}) > 1:
                curves.append(Curve(name, x, columns[key]))
            elif len(known) > 1:
                sentences.append(f"{title}, {name}: {show(known[0])} {everywhere}.")
        if curves:
            charts.append(Chart(title, term, axis, _range_of(label, curves), curves))
    return charts, sentences


def _range_of(label: str, curves: Sequence[Curve]) -> Axis:
    """From 0, to 1 for shares and correlations; less than 0 only where values are."""
    values = [value for curve in curves for value in curve.y if value is not None]
    low = min(0.0, *values)
    return Axis.linear(label, low, 1 if max(values) <= 1 and label != "phasing power" else max(values))


def solvent_chart(solvent: Mapping) -> Chart | None:
    """Distributions of the solvent content, each scaled to a maximum of 1, with the one used; None
    where none is known."""
    distributions = solvent.get("distributions") or {}
    curves = []
    for key, label in (("matthews", "Matthews"), ("unet", "network"), ("joint", "both together")):
        values = np.array(distributions.get(key) or [0.0], float)
        if np.nanmax(values) > 0:
            scaled = values / np.nanmax(values)
            curves.append(Curve(label, distributions["solvent"], scaled, plain=True))
    if not curves:
        return None
    return Chart("Solvent content", "solvent", Axis.linear("solvent content", 0, 1),
                 Axis.linear("relative probability", 0, 1), curves,
                 marks=[(solvent["value"], f"used: {solvent['value']:.3f}")])


def certainty_chart(mask: Mapping) -> Chart | None:
    """How often each P(solvent) occurs in the asymmetric unit, and where the mask begins."""
    histogram, cutoff = mask.get("histogram"), mask.get("probability_cutoff")
    if not histogram:
        return None
    share = np.asarray(histogram["counts"], float) / max(np.sum(histogram["counts"]), 1)
    marks = [] if cutoff is None else [(cutoff, f"solvent from {cutoff:.2f} on")]
    return Chart("How sure the network is", "p_solvent", Axis.linear("P(solvent)", 0, 1),
                 Axis.linear("share of the points", 0, float(share.max()) or 1, 5), [],
                 Bars(histogram["edges"], share, 0.5 if cutoff is None else cutoff), marks)
