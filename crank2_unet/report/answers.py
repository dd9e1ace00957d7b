"""The first lines of a report: what came out, and the numbers that say so."""

from __future__ import annotations

from dataclasses import dataclass

from .words import RULES, headline, likely_copies, quality_caveat, show_probability

_LEVELS = {"solved": "good", "promising": "good", "doubtful": "fair", "not solved": "poor"}


@dataclass(frozen=True)
class Verdict:
    """One line, its reasons, what to do next; ``level`` is good, fair, poor or plain."""

    line: str
    reasons: list[str]
    advice: list[str]
    level: str = "plain"


@dataclass(frozen=True)
class Tile:
    """A number of the result: the term that explains it, its name, its value, and a remark."""

    term: str
    name: str
    value: str
    note: str = ""


def verdict_of(result: dict) -> Verdict:
    """What a result says, in words."""
    given = result.get("verdict")
    if given:
        return Verdict(headline(given).replace("+-", "±") + ".", given.get("reasons") or [],
                       given.get("advice") or [], _LEVELS.get(given["word"], "plain"))
    if result.get("hands"):
        return _verdict_on_hands(result)
    if result.get("phasing"):
        return _verdict_on_phases(result)
    if result.get("cycles"):
        return Verdict(f"Figure of merit {result['cycles'][-1]['fom']:.3f} after "
                       f"{len(result['cycles'])} cycles.", [], [])
    solvent = result.get("solvent_content")
    if solvent:
        rule = RULES.get(solvent["rule"], solvent["rule"])
        return Verdict(f"{solvent['value']:.1%} of the crystal is solvent, {rule}.", [], [])
    return Verdict("", [], [])


def _verdict_on_hands(result: dict) -> Verdict:
    if result.get("same_map"):
        return Verdict("Both hands give the same map: use either.", [
            "The sites are centrosymmetric, so that the files differ by their origin only."], [])
    best = max(result["hands"], key=lambda hand: hand["probability"])
    sure = best["probability"] >= 0.9
    line = f"{'The right hand is' if sure else 'More probably right is'} {best['file']}"
    advice = ("Go on with this file: crank2-unet dm." if sure else
              "Run crank2-unet dm on both files and compare their verdicts.")
    return Verdict(f"{line}, with a probability of {show_probability(best['probability'])}.", [],
                   [] if result.get("part_of") else [advice], "good" if sure else "fair")


def _verdict_on_phases(result: dict) -> Verdict:
    phasing = result["phasing"]
    power = phasing.get("phasing_power")
    line = f"{phasing.get('n_sites')} sites give phases with a figure of merit of {phasing['fom']:.3f}"
    if power is not None:
        line += f" and a phasing power of {power:.2f}"
    advice = ("Compare the two hands: crank2-unet hand." if len(phasing.get("hands") or []) > 1 else
              "If the hand of the sites is not known, phase with --hand both and compare: crank2-unet "
              "hand.")
    return Verdict(line + ".", [], [] if result.get("part_of") else [advice])


def _with_error(expected: dict) -> str:
    return f"{expected['correlation']:.2f} ± {expected['uncertainty']:.2f}"


def tiles_of(result: dict) -> list[Tile]:
    """Numbers of the result itself (not of what it started from), most telling first."""
    tiles = []
    expected = (result.get("verdict") or {}).get("expected")
    cycles, hands = result.get("cycles") or [], result.get("hands") or []
    if expected:
        tiles.append(Tile("correlation", "Map correlation", _with_error(expected),
                          "expected, with the true map"))
    elif result.get("map_quality") and not cycles:
        tiles.append(Tile("correlation", "Map correlation", _with_error(result["map_quality"]),
                          f"expected, with the true map{quality_caveat(result)}"))
    tiles += _cycle_tiles(cycles)
    if not cycles:
        tiles += _phasing_tiles(result.get("phasing") or {})
    if hands:
        best = max(hands, key=lambda hand: hand["probability"])
        tiles.append(Tile("hand", "Right hand", show_probability(best["probability"]), "probability"))
    return tiles + _solvent_tiles(result.get("solvent_content"))


def _cycle_tiles(cycles: list[dict]) -> list[Tile]:
    tiles = []
    for term, key, name in (("fom", "fom", "Figure of merit"),
                            ("free", "free_correlation", "Held-back amplitudes")):
        values = [cycle[key] for cycle in cycles if cycle.get(key) is not None]
        if values:
            tiles.append(Tile(term, name, f"{values[-1]:.3f}",
                              f"{values[0]:.3f} after the first cycle"))
    return tiles


def _phasing_tiles(phasing: dict) -> list[Tile]:
    tiles = []
    if phasing.get("fom") is not None:
        tiles.append(Tile("fom", "Figure of merit", f"{phasing['fom']:.3f}", "of all measured"))
    if phasing.get("phasing_power") is not None:
        tiles.append(Tile("phasing_power", "Phasing power", f"{phasing['phasing_power']:.2f}",
                          "overall"))
    if phasing.get("f_double_prime") is not None:
        given = (phasing.get("absolute") or {}).get("f_double_prime_given")
        tiles.append(Tile("f_double_prime", "f″ refined", f"{phasing['f_double_prime']:.2f}",
                          "electrons" if given is None else f"electrons; {given:.2f} expected"))
    return tiles


def _solvent_tiles(solvent: dict | None) -> list[Tile]:
    if not solvent:
        return []
    tiles = [Tile("solvent", "Solvent content", f"{solvent['value']:.1%}",
                  RULES.get(solvent["rule"], solvent["rule"]))]
    copies = likely_copies(solvent)
    if copies:
        tiles.append(Tile("copies", "Copies", str(copies["copies"]),
                          f"in the asymmetric unit; probability {copies['joint']:.2f}"))
    return tiles
