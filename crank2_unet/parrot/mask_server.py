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
from ..files.output import staged_file
from ..modification.region_weights import RegionWeights
from ..modification.sharpening import Sharpening
from . import mask_client

# answers a request: map file, mask file to write, number of the cycle
Answer = Callable[[str, str, int], None]
ANISOTROPY_OPTION = "-anisotropy-correction"  # of Parrot
_LONGEST_QUESTION = 1 << 16  # bytes
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
        with staged_file(mask_file, [map_file]) as unfinished:  # a reader must never see half a mask
            write_map(weights(seen, cycle), unfinished)
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
        with _Server(str(folder / "masks"), answer) as server:
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


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens to each client in a thread, so that an idle one blocks nobody; answers one at a time."""

    daemon_threads = True  # none keeps the process from ending

    def __init__(self, address: str, answer: Answer):
        super().__init__(address, _Handler)
        self._answer, self._busy = answer, threading.Lock()

    def answer(self, map_file: str, mask_file: str, cycle: int) -> None:
        with self._busy:
            self._answer(map_file, mask_file, cycle)

    def handle_error(self, *_) -> None:
        """A client that is gone or says nothing; it has had its time, and the server goes on."""


class _Handler(socketserver.StreamRequestHandler):
    """One request; any error goes to the client, and the server goes on."""

    timeout = mask_client.SECONDS_TO_ASK
    server: _Server

    def handle(self) -> None:
        question = self.rfile.read(_LONGEST_QUESTION)
        said = self._answer(os.fsdecode(question).split("\0"))
        self.wfile.write(os.fsencode(" ".join(said.split())))  # one line

    def _answer(self, arguments: list[str]) -> str:
        if len(arguments) != 3 or not arguments[2].isdecimal():
            return f"the mask command needs MAP MASK CYCLE, not: {' '.join(arguments)}"
        try:
            self.server.answer(arguments[0], arguments[1], int(arguments[2]))
        except (Crank2UnetError, OSError) as error:
            return f"there is no mask for cycle {arguments[2]}: {error}"
        except MemoryError:
            return f"there is no mask for cycle {arguments[2]}: not enough memory"
        except Exception as error:  # a bug; without an answer the program would wait for ever
            return (f"there is no mask for cycle {arguments[2]}: internal error "
                    f"({type(error).__name__}: {error})")
        return mask_client.OK
