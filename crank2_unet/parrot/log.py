"""What Parrot's log says."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class RunLog:
    """What Parrot says in its log.

    Parameters
    ----------
    version : of the program, "" if it does not say.
    cycles : for each cycle ``fom``, ``f_correlation`` and ``gamma``.
    radius : of the sphere for the local deviation in the next cycle, Angstrom; None if it ran none.
    operators : non-crystallographic symmetry, refined, as values of -ncs-operator.
    cut_at : resolution limit of the reference structure, Angstrom, if the data were cut there.
    finished : it ended as it should.
    """

    version: str
    cycles: list[dict]
    radius: float | None
    operators: list[str]
    cut_at: float | None
    finished: bool

    @classmethod
    def parse(cls, text: str) -> RunLog:
        table = re.search(r"\$TABLE :Reflection statistics:.*?\n\$\$\n(.*?)\$\$", text, re.S)
        rows = [row.split() for row in table[1].splitlines()] if table else []
        gammas = [float(value) for value in re.findall(r"^Gamma (\S+)", text, re.M)]
        cycles = [{"fom": float(row[1]), "f_correlation": float(row[2]), "gamma": gamma}
                  for row, gamma in zip(rows[1:], gammas)]  # the first row is that of the input
        radii = re.findall(r"^Suggested radius for solvent mask determination: (\S+)", text, re.M)
        cut = re.search(r"truncated to reference:\s+Ref: (\S+)", text)
        return cls(parrot_version(text), cycles, float(radii[-1]) if radii else None,
                   re.findall(r"^ -ncs-operator (\S+)$", text, re.M),
                   float(cut[1]) if cut else None, "Normal termination" in text)


def parrot_version(text: str) -> str:
    """Version of Parrot by the banner of its log or usage; "" if there is none."""
    found = re.search(r"cparrot\s+version (\S+)", text)
    return found[1] if found else ""


def log_tail(text: str, lines: int = 12) -> str:
    """The last lines of a log of CCP4, without its HTML and blank lines."""
    plain = re.sub(r"<[^<>]*>", "", text)
    return "\n".join([line.rstrip() for line in plain.splitlines() if line.strip()][-lines:])
