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
    return start + (", if density was not modified" if "fc" in result["input"]["labels"] else "")


def likely_copies(solvent: Mapping) -> Mapping | None:
    """The most probable entry of ``matthews`` of the solvent content; None without a composition."""
    return max(solvent.get("matthews") or [], key=lambda option: option["joint"], default=None)
