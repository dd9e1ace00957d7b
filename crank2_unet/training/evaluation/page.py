"""Page, tables and figures of a validation."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from ...report.figures import data_uri
from .drawings import draw
from .metrics import show
from .tables import groups, make_tables

PAGE, TABLES = "validation.html", "tables.txt"


def write_page(report: dict, folder: Path) -> None:
    """Write ``validation.html``, ``tables.txt`` and a PNG file of each figure.

    Parameters
    ----------
    report : of :func:`~.validate.validate`, as JSON holds it.
    """
    import jinja2

    pictures = []
    for name, (title, figure) in draw(report).items():
        figure.savefig(folder / f"{name}.png", dpi=130)
        pictures.append((title, data_uri((folder / f"{name}.png").read_bytes(), "png")))
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["show"] = show
    source = resources.files(__package__).joinpath("validation.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(source).render(
        report=report, headline=headline(report), tables=make_tables(report), pictures=pictures,
        settings=json.dumps(report["settings"], indent=1), remarks=remarks(report))
    (folder / PAGE).write_text(page, encoding="utf-8")
    (folder / TABLES).write_text(render(report) + "\n", encoding="utf-8")


def render(report: dict) -> str:
    """The report in plain text."""
    failed = [f"{name} failed: {message}" for name, message in report["failures"].items()]
    return "\n\n".join([headline(report), *map(str, make_tables(report)), *remarks(report), *failed])


def headline(report: dict) -> str:
    """How many data sets there are and what was done with them."""
    model, settings = report["model"], report["settings"]
    counts = ", ".join(f"{len(entries)} {kind}" for kind, entries in groups(report).items())
    engine = "Parrot" if settings["parrot"] else "the embedded engine"
    done = ("two commands" if settings["commands"]
            else f"density modification by {engine}, " + (
                f"{settings['cycles']} cycles" if settings["cycles"] else "cycles by convergence"))
    return (f"Data sets: {counts}; {done}; crank2-unet {settings['version']}, "
            f"network {model['name']} {model['version']}")


def remarks(report: dict) -> list[str]:
    """What is not there and why."""
    if report["settings"]["building"]:
        return []
    return ["The paper's Fig. 1(b), R-free after model building, is not drawn: no program for model "
            "building was named (--building; where CCP4's Crank2 is, examples/crank2/build.sh)."]
