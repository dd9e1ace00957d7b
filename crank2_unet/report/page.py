"""One self-contained HTML page from the contents of result.json and the maps of the run."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from ..errors import InputError
from . import plots
from .answers import tiles_of, verdict_of
from .figures import Layer, Picture, section_picture, sections_of
from .terms import TERMS
from .volume import browser_data
from .words import SCHEMA, about_beyond_data, about_given_phases, about_ncs, show, show_probability

HEADINGS = {
    "segment": "Solvent mask",
    "dm": "Density modification",
    "phase": "SAD phasing",
    "hand": "Which hand is right",
    "solve": "From Friedel mates to a map",
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
    "into": "with the site at",
    "sigma_scale": "scale of measured σ",
    "spacegroup": "space group",
    "correlation": "map correlation",
    "map_correlation": "map correlation, if right",
    "fom": "FOM",
    "f_correlation": "F correlation",
    "work_correlation": "measured",
    "free_correlation": "held back",
    "agreement_trust": "trust in agreement",
    "phase_trust": "trust in phases",
    "phase_change": "phase change (°)",
    "d_max": "from (Å)",
    "d_min": "to (Å)",
    "n": "reflections",
    "n_sites": "sites",
    "n_pairs": "Friedel pairs",
    "f_double_prime": "f″ refined",
    "r_factor": "R factor",
    "sigma_a": "sigma-A",
    "gamma": "gamma (share of the map itself)",
    "solvent_fraction": "mean weight",
    "ncs_correlation": "NCS correlation",
    "volume": "share of the asymmetric unit",
    "skewness": "skewness, sharpened",
    "map_skewness": "skewness, as phased",
    "rms_dano": "rms difference",
    "rms_calculated": "by the sites",
    "rms_error": "unexplained",
}
# columns of tables that the glossary explains
_EXPLAINED = {
    "fom": "fom", "phasing_power": "phasing_power", "occupancy": "occupancy", "b_iso": "b",
    "height": "height", "map_correlation": "correlation", "correlation": "correlation",
    "contrast": "contrast", "skewness": "skewness", "map_skewness": "skewness",
    "free_correlation": "free", "agreement_trust": "trust", "phase_trust": "trust",
    "phase_change": "phase_change", "ncs_correlation": "ncs", "sigma_a": "sigma_a",
    "copies": "copies", "solvent": "solvent", "f_double_prime": "f_double_prime",
}

# title and pictures, one for each layer, of a section of the maps
DrawnSection = tuple[str, list[Picture]]


def draw_sections(layers: Sequence[Layer]) -> list[DrawnSection]:
    """One section across each cell axis, where the mask tells most, of each layer."""
    return [(section.title, [section_picture(section, layer) for layer in layers])
            for section in (sections_of(layers) if layers else [])]


def write_report(result: dict, path: str | Path, layers: Sequence[Layer] = (),
                 sections: Sequence[DrawnSection] | None = None) -> None:
    """Write the report of one run.

    Parameters
    ----------
    result : contents of result.json, schema 1; parts may be absent or null.
    path : HTML file to write; the page needs no other file and no network.
    layers : maps to show, all of one cell.
    sections : of the layers, from :func:`draw_sections`, where they are drawn already.

    Raises
    ------
    InputError : ``result`` is of another schema.
    """
    if result.get("schema") != SCHEMA:
        raise InputError(f"The result has schema {result.get('schema')!r}, this version of "
                         f"crank2-unet reads schema {SCHEMA}. Repeat the run with this version.")
    Path(path).write_text(_Page(result, layers, sections).text(), encoding="utf-8")


class _Page:
    """A page in the making, which remembers the terms that it has to explain."""

    def __init__(self, result: dict, layers: Sequence[Layer], sections: Sequence[DrawnSection] | None):
        self.result, self.layers = result, layers
        self.sections = draw_sections(layers) if sections is None else sections
        self.used: dict[str, None] = {}

    def text(self) -> str:
        result, script = self.result, _resource("page.js")
        phasing = result.get("phasing") or {}
        source = result.get("mask_source")
        return self._template().render(
            result=result, heading=HEADINGS.get(str(result.get("command")), "Report"),
            verdict=verdict_of(result), tiles=tiles_of(result), style=_resource("page.css"),
            script=script, script_hash=base64.b64encode(
                hashlib.sha256(script.encode()).digest()).decode(),
            maps=self._maps(), layers=self.layers, sections=self.sections, phasing=phasing,
            by_cycle=plots.cycle_plots(result.get("cycles") or []),
            by_resolution=plots.resolution_plots(result.get("shells") or []),
            by_shell=plots.phasing_plots(phasing.get("bins") or []),
            given_phases=about_given_phases(result), ncs=about_ncs(result),
            beyond_data=about_beyond_data(result),
            modified=_modified_hands(result), operators=_operators(result),
            answer_charts=self._answer_charts(), hands=self._hands(), terms=TERMS, used=self.used,
            mask_source=source and MASKS.get(source, f"read from {source}"),
            command_line=shlex.join(["crank2-unet", *map(str, result.get("arguments") or [])]))

    def _template(self):
        import jinja2

        environment = jinja2.Environment(autoescape=True, undefined=jinja2.ChainableUndefined,
                                         trim_blocks=True, lstrip_blocks=True)
        environment.filters.update(show=show, heading=_heading, explained=_explained,
                                   cell=lambda cell: ", ".join(f"{x:.6g}" for x in cell or []))
        environment.globals.update(use=self._use, sites=_sites, files=_files)
        return environment.from_string(_resource("page.html.j2"))

    def _use(self, term: str) -> str:
        """The identifier of a term, which will be explained at the end."""
        self.used[term] = None
        return f"term-{term.replace('_', '-')}"

    def _maps(self) -> str:
        """Data of the section browser as JSON that cannot end the element that holds it."""
        if not self.layers:
            return ""
        data = json.dumps(browser_data(self.layers), separators=(",", ":"))
        return data.replace("<", "\\u003c")

    def _answer_charts(self) -> list:
        charts = (plots.solvent_chart(self.result.get("solvent_content") or {}),
                  plots.certainty_chart(self.result.get("mask") or {}))
        return [chart for chart in charts if chart]

    def _hands(self) -> list[dict]:
        """One row of numbers for each hand that was phased or compared."""
        hands = self.result.get("hands") or (self.result.get("phasing") or {}).get("hands") or []
        rows = [{**hand, **(hand.get("statistics") or {})} for hand in hands]
        for row in rows:
            if "probability" in row:
                row["probability"] = show_probability(row["probability"])
        return [{key: value for key, value in row.items()
                 if not isinstance(value, (dict, list)) and "comment" not in key} for row in rows]


def _heading(key: str) -> str:
    kind, _, what = key.partition("_")
    if kind in ("acentric", "centric"):
        return f"{_heading(what)}, {kind}"
    return COLUMNS.get(key, key.replace("_", " "))


def _explained(key: str) -> str | None:
    return _EXPLAINED.get(key.removeprefix("acentric_").removeprefix("centric_"))


def _modified_hands(result: Mapping) -> list[dict]:
    """Rows on each hand after density modification, where both had it."""
    return [{"hand": hand["hand"], "verdict": hand["word"], "correlation": hand["correlation"],
             "uncertainty": hand["uncertainty"], "probability of more than 0.5": hand["probability"]}
            for hand in (result.get("hand") or {}).get("modified") or []]


def _operators(result: Mapping) -> list[dict]:
    """Rows on the operators of NCS."""
    return [{"operator": found["operator"], "volume": found["volume"],
             "ncs_correlation": found["correlation"]} for found in result.get("ncs") or []]


def _sites(sites: Sequence[Mapping]) -> list[dict]:
    """Rows of a table of sites, coordinates in columns of their own."""
    return [{**{axis: f"{x:.4f}" for axis, x in zip("xyz", site.get("xyz") or [])},
             **{key: value for key, value in site.items() if key != "xyz"}} for site in sites]


def _files(outputs: Mapping) -> list[tuple[str, object]]:
    """What there is to say of each output; of columns their names in the file."""
    rows: list[tuple[str, object]] = []
    for key, value in outputs.items():
        if key == "columns":
            rows.append((key, list(value.values())))
        elif key == "pictures":
            rows.append((key, [picture["file"] for picture in value]))
        elif isinstance(value, Mapping):
            rows += [(f"{key}: {name}", item) for name, item in _files(value)]
        else:
            rows.append((key, value))
    return rows


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
