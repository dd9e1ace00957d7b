"""What the import hook does when Crank2 starts."""

from __future__ import annotations

from pathlib import Path

from ..hook import is_crank2


def activate(parse) -> None:
    """Give Crank2 the option dmmask.

    Parameters
    ----------
    parse : Crank2's module of this name, just imported; another module of the name is left alone.
    """
    if not is_crank2(Path(parse.__file__).parent):
        return
