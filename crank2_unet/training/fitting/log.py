"""Log of a training: one row for each validation, as a table (CSV) and as a picture (PNG)."""

from __future__ import annotations

import csv
from pathlib import Path

Row = dict[str, float]


def write_rows(rows: list[Row], path: Path) -> None:
    """Write a table; all rows have the names of the first."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def plot(rows: list[Row], path: Path) -> None:
    """Picture of loss, accuracy and Matthews correlations against the steps of a training."""
    from matplotlib.figure import Figure

    figure = Figure((9, 3.5), layout="constrained")
    steps = [row["step"] for row in rows]
    for axes, names in zip(figure.subplots(1, 2), (("loss", "validation_loss"),
                           ("accuracy", "validation_accuracy", "validation_mcc",
                            "validation_flat_mcc"))):
        for name in names:
            axes.plot(steps, [row[name] for row in rows], label=name.replace("_", " "))
        axes.set_xlabel("step")
        axes.legend()
    figure.savefig(path)
