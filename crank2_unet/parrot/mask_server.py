"""Masks on demand for a program that runs a command before each cycle (Parrot's -mask-command).

The network is loaded once, by the process that starts the program; a thread of it answers the
client (:mod:`~.mask_client`) over a Unix socket.  The server thus ends with its job, and each job
has a socket of its own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

import numpy as np

from ..crystal.grids import structure_factors
from ..crystal.observations import PhasedData
from ..errors import Crank2UnetError
from ..files.maps import read_map_of, write_map
from ..modification.region_weights import RegionWeights
from ..modification.sharpening import Sharpening
from . import mask_client

# answers a request: map file, mask file to write, number of the cycle
Answer = Callable[[str, str, int], None]
ANISOTROPY_OPTION = "-anisotropy-correction"  # of Parrot
_LONGEST_SOCKET = 100  # bytes; the systems in use allow 103 to 107
# -S and -E: neither site-packages nor the user's settings are looked at, which takes longer than
# all the rest
CLIENT_COMMAND = shlex.join([sys.executable, "-S", "-E", mask_client.__file__])


def mask_writer(data: PhasedData, weights: RegionWeights, command: Sequence[str] = ()) -> Answer:
    """Answers with the region weights of the map in a file.

    The map is sharpened, and loses the reflections that are neither measured nor in the starting
    map before it is looked at: what density modification filled in there would give the last mask
    back.

    Parameters
    ----------
    data : of the crystal; says which reflections are known.
    weights : region weights for a map.
    command : of Parrot, whose maps lack anisotropy if it says so.
    """
    sharpening = Sharpening.of(data)
    if ANISOTROPY_OPTION in command:
        sharpening = sharpening.isotropic

    def answer(map_file: str, mask_file: str, cycle: int) -> None:
        density = read_map_of(map_file, data.reflections)
        coefficients = np.where(data.known, structure_factors(density, data.reflections), 0)
        seen = sharpening.sharpen(coefficients)
        # a reader must never see half a mask
        partial = f"{mask_file}.{os.getpid()}"
        write_map(weights(seen, cycle), partial)
        os.replace(partial, mask_file)
    return answer


@contextmanager
def serving(answer: Answer) -> Iterator[dict]:
    """Answer clients while the block runs.

    Yields
    ------
    Variables that clients need in their environment.
    """
    folder = Path(tempfile.mkdtemp(prefix="crank2-unet-", dir=_short_folder()))
    try:
        with socketserver.UnixStreamServer(str(folder / "masks"), _Handler) as server:
            server.answer = answer
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield {mask_client.VARIABLE: server.server_address}
            finally:
                server.shutdown()
                thread.join()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _short_folder() -> str:
    """A folder for temporary files whose path leaves room for the name of a socket."""
    folder = tempfile.gettempdir()
    longest = len(os.fsencode(folder)) + len("/crank2-unet-12345678/masks")
    return folder if longest <= _LONGEST_SOCKET else "/tmp"


class _Handler(socketserver.StreamRequestHandler):
    """One request; any error goes to the client, and the server goes on."""

    def handle(self) -> None:
        said = self._answer(self.rfile.read().decode().split("\0"))
        self.wfile.write(" ".join(said.split()).encode())  # one line

    def _answer(self, arguments: list[str]) -> str:
        if len(arguments) != 3 or not arguments[2].isdecimal():
            return f"the mask command needs MAP MASK CYCLE, not: {' '.join(arguments)}"
        try:
            self.server.answer(*arguments[:2], int(arguments[2]))
        except (Crank2UnetError, OSError) as error:
            return f"there is no mask for cycle {arguments[2]}: {error}"
        except MemoryError:
            return f"there is no mask for cycle {arguments[2]}: not enough memory"
        except Exception as error:  # a bug; without an answer the program would wait for ever
            return (f"there is no mask for cycle {arguments[2]}: internal error "
                    f"({type(error).__name__}: {error})")
        return mask_client.OK
