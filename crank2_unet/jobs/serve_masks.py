"""The job of the command ``mask-server``: masks for a Parrot of the user's own."""

from __future__ import annotations

import os
import subprocess

from ..errors import ProgramError
from ..files.mtz_input import read_phased
from ..parrot.mask_server import mask_writer, serving
from ..pipeline import network_weights, segment
from .choices import Columns, Content, NetworkChoice
from .result import judge


def run_mask_server(mtzin: str, command: list[str], columns: Columns = Columns(),
                    content: Content = Content(), choice: NetworkChoice = NetworkChoice()) -> int:
    """Run a program and give masks by the network to clients that it starts.

    Parameters
    ----------
    mtzin : the data that the program modifies.
    command : the program and its arguments.

    Returns
    -------
    Exit status of the program.

    Raises
    ------
    Crank2UnetError : unusable data or network; the program is not found.
    """
    given = read_phased(mtzin, columns.fo, columns.hl, columns.phifom, columns.fc)
    net, composition = choice.load(), content.composition()
    found = segment(given.data, net, composition, content.solvent_content)
    judge(found, given, net, composition)
    weights = network_weights(given.data, net, found.solvent.value)
    with serving(mask_writer(given.data, weights, command)) as variables:
        try:
            return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode
        except OSError as error:
            raise ProgramError(f"{command[0]} does not start ({error.strerror}).") from error
