"""Words for what result.json says: jobs and the terminal use them, too."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real

SCHEMA = 1
RULES = {
    "joint": "from the network and the sequence together",
    "unet": "from the network alone",
    "user": "as given",
    "file": "of the mask file",
}


def show(value) -> str:
    """A value of result.json as a person would write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{value:.0f}" if abs(float(value)) >= 1000 else f"{value:#.3g}".rstrip(".")
    if isinstance(value, (list, tuple)):
        return ", ".join(map(show, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {show(item)}" for key, item in value.items())
    return str(value)


def show_probability(value: float) -> str:
    """A probability to three decimals, which is never 0 or 1."""
    return "<0.001" if value < 0.0005 else ">0.999" if value > 0.9995 else f"{value:.3f}"


def headline(verdict: Mapping) -> str:
    """The verdict on a map in one line."""
    word, expected = verdict["word"].capitalize(), verdict["expected"]
    return f"{word}: nothing here tells whether the map is right" if expected is None else (
        f"{word}: expected correlation with the true map {expected['correlation']:.2f} "
        f"+- {expected['uncertainty']:.2f}")


def quality_caveat(result: dict) -> str:
    """What to add to the expected correlation of a map of unknown origin."""
    start = " (start map)" if result["command"] in ("dm", "solve") else ""
    if "model bias" in (result.get("doubts") or ()):
        return start + ", too high: it is that of a model"
    unknown = {"fc", "phifom"} & set(result["input"]["labels"])  # programs write both after any step
    return start + (", if density was not modified" if unknown else "")


def about_ncs(result: Mapping) -> str:
    """Whether NCS was found, in words; empty if it was not looked for."""
    found, sites = result.get("ncs"), result.get("ncs_sites")
    if found is None or (found and not sites):
        return ""
    where = f"looked for by the sites in {sites} and in the map" if sites else "looked for in the map"
    return where if found else (f"{where}: none that the map and held-back amplitudes confirm, so no "
                                "averaging")


def about_given_phases(result: Mapping) -> str:
    """How much of the given phases is believed, in words; empty if it is not known."""
    phases = result.get("phases")
    return phases and (f"claim a figure of merit of {phases['claimed_fom']:.2f}; the map supports "
                       f"{phases['supported_fom']:.2f}") or ""


def about_beyond_data(result: Mapping) -> str:
    """Whether reflections beyond the data were of use, in words; empty if they were not tried."""
    tried = result.get("beyond_data")
    if not tried:
        return ""
    better, so = ("better", "used") if tried["used"] else ("no better", "not used")
    after, before = tried["free_correlation"], tried["free_correlation_before"]
    return (f"filled in to {tried['d_min']:.2f} Å; held-back amplitudes agree {better} with them "
            f"(correlation {after:.3f}, without {before:.3f}): {so}")


def likely_copies(solvent: Mapping) -> Mapping | None:
    """The most probable entry of ``matthews`` of the solvent content; None without a composition."""
    return max(solvent.get("matthews") or [], key=lambda option: option["joint"], default=None)
