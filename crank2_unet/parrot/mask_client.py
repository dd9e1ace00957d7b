"""Asks the mask server for a mask: ``mask_client.py MAP MASK CYCLE``, Parrot's -mask-command.

It starts anew in every cycle: only the standard library is used, and the file runs as a script, in
which case nothing else of the package is imported.
"""

import os
import socket
import sys

VARIABLE = "CRANK2_UNET_SOCKET"  # path of the server's socket, in the environment
OK = "ok"
SECONDS_TO_ASK, SECONDS_TO_ANSWER = 30, 24 * 3600  # the network may need minutes for a large map


def main(arguments: list) -> int:
    """Returns 0 when the mask is written, 1 after one line on stderr that says why it is not."""
    try:
        files = [os.path.abspath(file) for file in arguments[:2]]
        answer = _ask(os.fsencode("\0".join([*files, *arguments[2:]])))
    except OSError as error:
        answer = f"the mask server cannot be reached ({error.strerror or error})"
    if answer == OK:
        return 0
    print(f"ERROR: {answer or 'the mask server ended without an answer'}", file=sys.stderr)
    return 1


def _ask(question: bytes) -> str:
    path = os.environ.get(VARIABLE)
    if not path:
        return f"${VARIABLE} is not set; run Parrot by 'crank2-unet mask-server'."
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS_TO_ASK)
        connection.connect(path)
        connection.sendall(question)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(SECONDS_TO_ANSWER)
        while part := connection.recv(4096):
            answer += part
    return answer.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
