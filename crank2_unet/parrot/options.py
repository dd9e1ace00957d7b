"""Options that a user may add to those that Parrot gets anyway."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

# what their value is
_OPTIONS = {
    "-pdbin-ha": "file", "-pdbin-mr": "file", "-ncs-operator": "text",
    "-ncs-mask-filter-radius": "text", "-ncs-asu-fraction": "text",
    "-mtzin-ref": "file", "-pdbin-ref": "file", "-colin-ref-fo": "text", "-colin-ref-hl": "text",
    "-solvent-flatten": None, "-histogram-match": None, "-ncs-average": None,
    "-rice-probability": None,
}
# options that only the first of several runs gets: later ones get the operators that it prints
_NCS_SOURCES = ("-pdbin-ha", "-pdbin-mr", "-ncs-operator")


def checked_options(text: str) -> list[str]:
    """Options for Parrot in one string, as a shell would split it; names of files made absolute.

    Raises
    ------
    InputError : an option that is not known or that this package sets itself, or a missing file.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"The options for Parrot cannot be read ({error}): {text}") from error
    options, rest = [], iter(words)
    for word in rest:
        if word not in _OPTIONS:
            raise InputError(f"{word} cannot be passed on to Parrot. These can: "
                             f"{', '.join(_OPTIONS)}.")
        options.append(word)
        if _OPTIONS[word] is None:
            continue
        value = next(rest, None)
        if value is None:
            raise InputError(f"Parrot's option {word} needs a value.")
        # Parrot goes on without a file that it cannot read
        if _OPTIONS[word] == "file" and not Path(value).is_file():
            raise InputError(f"{value}, given to Parrot as {word}, is not a file.")
        options.append(str(Path(value).resolve()) if _OPTIONS[word] == "file" else value)
    return options


def ncs_options(operators: Sequence[str]) -> list[str]:
    """That name operators of non-crystallographic symmetry."""
    return [word for operator in operators for word in ("-ncs-operator", operator)]


def with_operators(options: Sequence[str], operators: Sequence[str]) -> list[str]:
    """Options with operators of non-crystallographic symmetry instead of what they came from."""
    rest, kept = iter(options), []
    for option in rest:
        if option in _NCS_SOURCES:
            next(rest)
        else:
            kept.append(option)
    return kept + ncs_options(operators)
