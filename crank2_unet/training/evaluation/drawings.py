"""Figures of a validation, from its report."""

from __future__ import annotations

from typing import Any

import numpy as np

from .tables import column, groups, in_shells, methods, solvent_classes

_COLOURS = ("#2a6f97", "#e49b0f", "#c0392b", "#3a9d6e", "#8a6fb0", "#5b6b79", "#1d2b38")
_MARKERS = {"measured": "o", "prepared": "^"}


def draw(report: dict) -> dict[str, tuple[str, Any]]:
    """Name of the file -> what the figure shows, and the figure (:class:`matplotlib.figure.Figure`)."""
    figures = {}
    for tested, against in report["pairs"]:
        name = f"fig1a_{tested}_{against}".replace(" ", "_")
        figures[name] = (f"The paper's Fig. 1(a): mean phase errors, {tested} against {against}",
                         _paired(report, tested, against, "phase_error"))
        if report["settings"]["building"]:
            figures[name.replace("1a", "1b")] = (
                f"The paper's Fig. 1(b): R-free after model building, {tested} against {against}",
                _paired(report, tested, against, "r_free"))
    figures["honesty"] = "Figures of merit: on the line they are honest", _honesty(report)
    figures["shells"] = ("Phase errors of acentric and centric reflections by resolution",
                         _shells(report))
    figures["solvent"] = "Solvent contents: found and true", _solvent(report)
    return figures


def _figure(width: float = 5.4, height: float = 4.8, columns: int = 1, **more):
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(1, columns, **more)


def _line(axes, values: list[float], margin: float) -> None:
    """The diagonal through all values."""
    ends = [min(values) - margin, max(values) + margin]
    axes.plot(ends, ends, color="#8a97a3", linewidth=0.9, zorder=0)
    axes.set(aspect="equal", xlim=ends, ylim=ends)


def _paired(report: dict, tested: str, against: str, score: str):
    """One point for each data set; the colour says by how much the solvent contents differ."""
    figure, axes = _figure()
    everything: list[float] = []
    for kind, entries in groups(report).items():
        x, y = column(entries, against, score), column(entries, tested, score)
        number, names = solvent_classes(entries)
        for i, name in enumerate(names):
            if (number == i).any():
                axes.scatter(x[number == i], y[number == i], s=22, marker=_MARKERS[kind],
                             color=_COLOURS[i], alpha=0.85, label=f"{kind}, {name}")
        everything += [*x[np.isfinite(x)], *y[np.isfinite(y)]]
    what, margin = (("mean phase error (degrees)", 2.0) if score == "phase_error" else ("R-free", 0.02))
    _line(axes, everything, margin)
    axes.set(xlabel=f"{what}, {against}", ylabel=f"{what}, {tested}")
    axes.legend(title="solvent contents differ by", fontsize="small", title_fontsize="small",
                loc="upper left")
    return figure


def _honesty(report: dict):
    figure, axes = _figure()
    for kind, entries in groups(report).items():
        for colour, run in zip(_COLOURS, methods(report)):
            axes.scatter(column(entries, run, "cos"), column(entries, run, "fom"), s=18, color=colour,
                         marker=_MARKERS[kind], alpha=0.8, label=f"{run}, {kind}")
    _line(axes, [0.0, 1.0], 0.0)
    axes.set(xlabel="mean cosine of the phase error", ylabel="mean figure of merit")
    axes.legend(fontsize="small", loc="upper left")
    return figure


def _shells(report: dict):
    figure, panels = _figure(9.6, 4.2, 2, sharey=True)
    for axes, group in zip(panels, ("acentric", "centric")):
        for kind, entries in groups(report).items():
            for colour, run in zip(_COLOURS, methods(report)):
                found = in_shells(entries, run, group, "phase_error")
                axes.plot([max(d_min, 1.3) ** -2 for d_min, _, _ in found],
                          [mean for _, mean, _ in found], color=colour, marker=_MARKERS[kind],
                          linestyle="-" if kind == "measured" else "--", label=f"{run}, {kind}")
        ticks = [6.0, 3.5, 2.5, 1.9, 1.6]
        axes.set_xticks([d**-2 for d in ticks], [f"{d:g}" for d in ticks])
        axes.set(xlabel=f"resolution (Angstrom), {group} reflections", ylim=(0, 95))
    panels[0].set_ylabel("mean phase error (degrees)")
    panels[1].legend(fontsize="small")
    return figure


def _solvent(report: dict):
    figure, axes = _figure()
    everything: list[float] = []
    for kind, entries in groups(report).items():
        true = [entry["solvent"]["true"] for entry in entries.values()]
        for colour, source in zip(_COLOURS, ("network", "matthews")):
            found = [entry["solvent"][source] for entry in entries.values()]
            axes.scatter(true, found, s=18, color=colour, marker=_MARKERS[kind], alpha=0.8,
                         label=f"{source}, {kind}")
            everything += [*true, *found]
    _line(axes, everything, 0.02)
    axes.set(xlabel="solvent content of the model", ylabel="solvent content found")
    axes.legend(fontsize="small", loc="upper left")
    return figure
