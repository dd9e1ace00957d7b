"""Masks that are asked for over a socket, as Parrot's -mask-command does."""

import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from blob import blob, noisy, without

from crank2_unet.crystal.grids import density_map, like
from crank2_unet.errors import InputError
from crank2_unet.files.maps import read_map, write_map
from crank2_unet.modification.sharpening import Sharpening
from crank2_unet.parrot.mask_client import VARIABLE
from crank2_unet.parrot.mask_server import CLIENT_COMMAND, _Handler, mask_writer, serving
from crank2_unet.pipeline import sharpened_map


@pytest.fixture(scope="module")
def data():
    """A crystal whose low-order half of the reflections is not measured."""
    data, truth, mask = noisy(blob("P 21 21 21"))
    return without(data, data.reflections.d > np.median(data.reflections.d))


def map_of(data, coefficients, path):
    write_map(density_map(data.reflections, coefficients, data.reflections.d_min / 3), path)
    return path


def ask(variables, *arguments, folder=None):
    """Run the client as Parrot does, through a shell."""
    return subprocess.run(f"{CLIENT_COMMAND} {shlex.join(map(str, arguments))}", shell=True,
                          text=True, capture_output=True, env={**os.environ, **variables},
                          cwd=folder, timeout=60)


def positive(current, cycle):
    return like(current.density, (current.density.array > 0) * cycle / 10)


def test_mask_of_a_map(data, tmp_path):
    map_of(data, data.coefficients, tmp_path / "a map.ccp4")
    with serving(mask_writer(data, positive)) as variables:
        # as Parrot does: names relative to its own folder
        got = ask(variables, "a map.ccp4", "a mask.ccp4", 3, folder=tmp_path)
        address = Path(variables[VARIABLE])
        assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700  # for its owner only
    assert got.returncode == 0 and got.stdout == got.stderr == ""
    assert {file.name for file in tmp_path.iterdir()} == {"a map.ccp4", "a mask.ccp4"}
    density, mask = sharpened_map(data).density, read_map(tmp_path / "a mask.ccp4")
    clear = np.abs(density.array) > 1e-3 * density.array.std()
    assert np.array_equal(mask.array[clear] > 0, density.array[clear] > 0)
    assert mask.array.max() == pytest.approx(0.3)
    assert not address.parent.exists()


def test_mask_does_not_see_filled_in_reflections(data, tmp_path):
    """They come from the last mask and would give it back."""
    seen = []

    def weights(current, cycle):
        seen.append(current.density.array.copy())
        return like(current.density, np.zeros(current.density.shape))
    filled = data.coefficients + np.where(data.known, 0, 50.0)
    with serving(mask_writer(data, weights)) as variables:
        for coefficients in (data.coefficients, filled):
            path = map_of(data, coefficients, tmp_path / "map.ccp4")
            assert ask(variables, path, tmp_path / "mask.ccp4", 1).returncode == 0
    before = read_map(path).array
    assert np.abs(before - seen[0]).max() > 10 * seen[0].std()  # it was there to be left out
    assert np.abs(seen[1] - seen[0]).max() < 1e-3 * seen[0].std()


@pytest.mark.parametrize("command", [[], ["cparrot", "-anisotropy-correction"]])
def test_maps_are_looked_at_sharpened(data, tmp_path, command):
    """As the network learnt them, whether or not Parrot has taken out the anisotropy."""
    sharpening, seen = Sharpening.of(data), []

    def weights(current, cycle):
        seen.append(current.density.array.copy())
        return positive(current, cycle)
    uneven = sharpening.u - sharpening.isotropic.u
    taken_out = Sharpening(data.reflections, uneven if command else np.zeros((3, 3)))
    path = map_of(data, taken_out.apply(data).coefficients, tmp_path / "map.ccp4")
    with serving(mask_writer(data, weights, command)) as variables:
        assert ask(variables, path, tmp_path / "mask.ccp4", 1).returncode == 0
    assert np.abs(uneven).max() > 1e-3  # or there is nothing to see
    assert np.allclose(seen[0], sharpened_map(data).density.array, atol=1e-3 * seen[0].std())


def test_errors_go_to_the_client_and_the_server_goes_on(data, tmp_path):
    def weights(current, cycle):
        if cycle == 1:
            raise InputError("the first\nwent wrong")
        if cycle == 2:
            raise ZeroDivisionError("a bug")
        return positive(current, cycle)
    path, mask = map_of(data, data.coefficients, tmp_path / "map.ccp4"), tmp_path / "mask.ccp4"
    other, _, _ = noisy(blob("P 1"))
    foreign = map_of(other, other.coefficients, tmp_path / "other.ccp4")
    with serving(mask_writer(data, weights)) as variables:
        for arguments, words in (((path, mask, 1), "cycle 1: the first went wrong"),
                                 ((path, mask, 2), "ZeroDivisionError: a bug"),
                                 ((tmp_path / "gone", mask, 3), "cannot be read"),
                                 ((foreign, mask, 3), "another crystal"),
                                 ((path, tmp_path / "gone" / "mask", 3), "No such file"),
                                 ((path, mask, "three"), "needs MAP MASK CYCLE")):
            got = ask(variables, *arguments)
            assert got.returncode == 1 and got.stdout == ""
            assert got.stderr.startswith("ERROR: ") and got.stderr.count("\n") == 1
            assert words in got.stderr and "Traceback" not in got.stderr
            assert not mask.exists()
        assert ask(variables, path, mask, 3).returncode == 0
    assert {file.name for file in tmp_path.iterdir()} == {"map.ccp4", "mask.ccp4", "other.ccp4"}


def test_several_servers_do_not_collide(data, tmp_path):
    path = map_of(data, data.coefficients, tmp_path / "map.ccp4")
    def everywhere(value):
        return mask_writer(data, lambda current, cycle: like(
            current.density, np.full(current.density.shape, value)))
    with serving(everywhere(0.25)) as one, serving(everywhere(0.75)) as two:
        for variables, value in ((one, 0.25), (two, 0.75), (one, 0.25)):
            assert ask(variables, path, tmp_path / "mask.ccp4", 1).returncode == 0
            assert read_map(tmp_path / "mask.ccp4").array.max() == value


def test_long_names_of_temporary_folders(data, tmp_path, monkeypatch):
    """Names of sockets have at most about 100 characters."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    path = map_of(data, data.coefficients, long / "map.ccp4")
    with serving(mask_writer(data, positive)) as variables:
        assert ask(variables, path, long / "mask.ccp4", 1).returncode == 0


def test_client_without_a_server(tmp_path):
    for variables, words in (({VARIABLE: ""}, "crank2-unet mask-server"),
                             ({VARIABLE: str(tmp_path / "gone")}, "No such file")):
        got = ask(variables, "map", "mask", 1)
        assert got.returncode == 1 and words in got.stderr and got.stderr.count("\n") == 1


def test_server_that_dies_does_not_leave_the_client_waiting(data, tmp_path):
    path = map_of(data, data.coefficients, tmp_path / "map.ccp4")
    code = ("import os, sys, time\n"
            "from crank2_unet.parrot.mask_server import serving\n"
            "with serving(lambda *_: os._exit(1)) as variables:\n"
            "    print(*variables.values(), flush=True)\n"
            "    time.sleep(60)\n")
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with server:
        address = server.stdout.readline().strip()
        got = ask({VARIABLE: address}, path, tmp_path / "mask.ccp4", 1)
    shutil.rmtree(Path(address).parent)  # it had no time for it
    assert got.returncode == 1
    assert "ended without an answer" in got.stderr or "Connection reset" in got.stderr


def test_client_imports_nothing_of_the_package():
    """It starts in every cycle, so that it must be light."""
    code = "import runpy, sys; sys.argv[1:] = ['a', 'b', '1']\n" \
           "try: runpy.run_path({!r}, run_name='__main__')\nexcept SystemExit: pass\n" \
           "assert not [name for name in sys.modules if name.split('.')[0] in" \
           " ('crank2_unet', 'numpy', 'gemmi', 'argparse', 'json')]"
    program = shlex.split(CLIENT_COMMAND)
    subprocess.run([*program[:-1], "-c", code.format(program[-1])], check=True,
                   stderr=subprocess.DEVNULL)


def test_idle_clients_block_nobody(data, tmp_path, monkeypatch):
    """Those that connect and say nothing, or do not stop, or go away, cost the others nothing."""
    monkeypatch.setattr(_Handler, "timeout", 0.5)
    path = map_of(data, data.coefficients, tmp_path / "map.ccp4")
    with serving(mask_writer(data, positive)) as variables, ExitStack() as stack:
        idle, endless, gone = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3))
        for client in (idle, endless, gone):
            client.connect(variables[VARIABLE])
        endless.sendall(b"x" * 70000)
        gone.sendall(b"one\0two")
        gone.close()
        assert ask(variables, path, tmp_path / "mask.ccp4", 1).returncode == 0
        idle.settimeout(60)
        assert idle.recv(100) == b""  # the server has ended it
        assert b"needs MAP MASK CYCLE" in endless.recv(100000)


def test_server_ends_while_a_client_is_idle(data):
    with serving(mask_writer(data, positive)) as variables, socket.socket(socket.AF_UNIX) as client:
        client.connect(variables[VARIABLE])
        client.sendall(b"half a question")
    assert not Path(variables[VARIABLE]).parent.exists()  # and this line is reached


def test_mask_does_not_replace_the_map(data, tmp_path):
    path = map_of(data, data.coefficients, tmp_path / "map.ccp4")
    os.link(path, tmp_path / "mask.ccp4")
    before = path.read_bytes()
    with serving(mask_writer(data, positive)) as variables:
        got = ask(variables, path, tmp_path / "mask.ccp4", 1)
    assert got.returncode == 1 and "which is an input" in got.stderr and path.read_bytes() == before


def test_names_that_are_not_utf8(data, tmp_path):
    with serving(mask_writer(data, positive)) as variables:
        got = ask(variables, os.fsdecode(b"map\xff"), tmp_path / "mask.ccp4", 1, folder=tmp_path)
    assert got.returncode == 1 and "not UTF-8" in got.stderr and got.stderr.count("\n") == 1
