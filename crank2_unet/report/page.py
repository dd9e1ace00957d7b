"""One self-contained HTML page from the contents of result.json and the maps of the run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import gemmi

from ..crystal.grids import resample
from ..errors import InputError
from . import figures
from .words import RULES, SCHEMA, likely_copies, quality_caveat, show

HEADINGS = {
    "segment": "Solvent mask",
    "dm": "Density modification",
    "phase": "SAD phasing",
    "hand": "Which hand is right",
}
MASKS = {
    "unet": "by the network, anew in every cycle",
    "variance": "by the local variance of the density (classical)",
}
COLUMNS = {
    "vm": "Vm (Å³/Da)",
    "unet": "network",
    "kantardjieff_rupp": "K & R 2003",
    "joint": "both together",
    "b_iso": "B (Å²)",
    "map_correlation": "map correlation, if right",
    "d_max": "from (Å)",
    "d_min": "to (Å)",
    "n": "reflections",
}


@dataclass(frozen=True)
class ReportMaps:
    """Maps drawn in the report, all over the whole cell; they are drawn on the grid of the density.

    Parameters
    ----------
    density : any scale.
    probability : P(solvent), 0 to 1; None where no network was used.
    mask : 1 = solvent, 0 = protein.
    """

    density: gemmi.FloatGrid
    probability: gemmi.FloatGrid | None
    mask: gemmi.FloatGrid


@dataclass(frozen=True)
class Tile:
    """A headline number: what it is, its value, and a remark."""

    name: str
    value: str
    note: str = ""


# title and pictures (density, then probability) of a section of the maps
DrawnSection = tuple[str, list[figures.Picture]]


def write_report(result: dict, path: str | Path, sections: Sequence[DrawnSection] = ()) -> None:
    """Write the report of one run.

    Parameters
    ----------
    result : contents of result.json, schema 1; parts may be absent or null.
    path : HTML file to write; the page needs no other file and no network.
    sections : from :func:`draw_sections`.

    Raises
    ------
    InputError : ``result`` is of another schema.
    """
    if result.get("schema") != SCHEMA:
        raise InputError(f"The result has schema {result.get('schema')!r}, this version of "
                         f"crank2-unet reads schema {SCHEMA}. Repeat the run with this version.")
    source = result.get("mask_source")
    page = _template().render(
        result=result, heading=HEADINGS.get(str(result.get("command")), "Report"), tiles=_tiles(result),
        command_line=shlex.join(["crank2-unet", *map(str, result.get("arguments") or [])]),
        mask_source=source and MASKS.get(source, f"read from {source}"), hands=_hands(result),
        sections=sections, charts=_charts(result),
        cycle_charts=figures.cycle_pictures(result.get("cycles") or []))
    Path(path).write_text(page, encoding="utf-8")


def _template():
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.ChainableUndefined,
                                     trim_blocks=True, lstrip_blocks=True)
    environment.filters["show"] = show
    environment.filters["heading"] = lambda key: COLUMNS.get(key, key.replace("_", " "))
    source = resources.files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def _hands(result: dict) -> list[dict]:
    """One row of numbers for each hand that was phased or compared."""
    hands = result.get("hands") or (result.get("phasing") or {}).get("hands") or []
    rows = [{**hand, **(hand.get("statistics") or {})} for hand in hands]
    return [{key: value for key, value in row.items() if not isinstance(value, (dict, list))}
            for row in rows]


def _tiles(result: dict) -> list[Tile]:
    """The answers, in the order in which a crystallographer asks for them."""
    tiles = []
    solvent, mask = result.get("solvent_content"), result.get("mask")
    if solvent:
        tiles.append(Tile("Solvent content", f"{solvent['value']:.1%}",
                          RULES.get(solvent.get("rule"), str(solvent.get("rule")))))
        copies = likely_copies(solvent)
        if copies:
            tiles.append(Tile("Copies in the asymmetric unit", str(copies["copies"]),
                              f"probability {copies['joint']:.2f}"))
    if mask:
        cutoff = mask.get("probability_cutoff")
        note = "" if cutoff is None else f", P(solvent) above {cutoff:.2f}"
        tiles.append(Tile("Solvent mask", f"{mask['fraction']:.1%}", "of the cell" + note))
    quality, hands = result.get("map_quality"), result.get("hands")
    if hands:
        best = max(hands, key=lambda hand: hand["probability"])
        tiles.append(Tile("Right hand", f"{best['probability']:.1%}", best["file"]))
    if quality:
        tiles.append(Tile("Map quality", f"{quality['correlation']:.2f} ± {quality['uncertainty']:.2f}",
                          f"expected correlation with the true map{quality_caveat(result)}"))
    phasing = result.get("phasing") or {}
    if phasing.get("fom") is not None:
        tiles.append(Tile("Phasing FOM", f"{phasing['fom']:.3f}", "mean figure of merit"))
    foms = [cycle["fom"] for cycle in result.get("cycles") or [] if cycle.get("fom") is not None]
    if foms:
        tiles.append(Tile("Final FOM", f"{foms[-1]:.3f}",
                          f"cycle {len(foms)}; {foms[0]:.3f} after the first"))
    return tiles + _machine_tiles(result)


def _machine_tiles(result: dict) -> list[Tile]:
    device, seconds = result.get("device"), (result.get("timings") or {}).get("total")
    tiles = []
    if device:
        tiles.append(Tile("Device", device["used"].upper(), f"{device['threads']} threads"))
    if seconds is not None:
        tiles.append(Tile("Time", f"{seconds:.1f} s"))
    return tiles


def draw_sections(maps: ReportMaps) -> list[DrawnSection]:
    """One section across each cell axis, where the mask tells most."""
    mean, sigma = float(maps.density.array.mean()), float(maps.density.array.std())
    density_limits = (mean - sigma, mean + 4 * sigma)  # noise pale, atoms dark
    mask = resample(maps.mask, maps.density)
    drawn = [(maps.density, "Density", "Greys", density_limits)]
    telling = mask
    if maps.probability is not None:
        telling = resample(maps.probability, maps.density)
        drawn.append((telling, "P(solvent)", "Blues", (0.0, 1.0)))
    return [(figures.section_title(section, mask),
             [figures.section_picture(section, grid, mask, title, colours, limits)
              for grid, title, colours, limits in drawn])
            for section in figures.telling_sections(telling)]


def _charts(result: dict) -> list[figures.Picture]:
    charts = []
    solvent, mask = result.get("solvent_content") or {}, result.get("mask") or {}
    if solvent.get("matthews") or solvent.get("distributions"):
        charts.append(figures.solvent_picture(solvent["value"], solvent.get("matthews") or [],
                                              solvent.get("distributions")))
    if mask.get("histogram"):
        charts.append(figures.histogram_picture(
            mask["histogram"]["edges"], mask["histogram"]["counts"],
            mask.get("probability_cutoff")))
    bins = [item for item in (result.get("phasing") or {}).get("bins") or []
            if item.get("d_min") and item.get("fom") is not None]
    if bins:
        charts.append(figures.fom_picture(bins))
    return charts
