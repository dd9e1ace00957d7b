"""Windows are cut once, survive interruption, and are read in a reproducible order."""

import json
import os

import numpy as np
import pytest
from prepared import write_prepared

from crank2_unet.errors import InputError, ProgramError
from crank2_unet.network.inputs import InputSpec
from crank2_unet.training.fitting.settings import TrainConfig
from crank2_unet.training.fitting.train import windows_of
from crank2_unet.training.preparation import windows
from crank2_unet.training.preparation.prepared import made_by
from crank2_unet.training.preparation.sampling import Windows, read_ahead, turn
from crank2_unet.training.preparation.windows import WindowSettings, cut_windows, pack, unpack

SETTINGS = WindowSettings(InputSpec(), 16, 2)


def cut(folder, settings=SETTINGS, split="train"):
    return cut_windows(folder, split, settings, workers=0)


def test_windows_show_a_map_beside_the_truth(tmp_path):
    """Where the map is the true one, so are the windows."""
    write_prepared(tmp_path, "aaaa", noises=(0.0,))
    x, y = Windows(cut(tmp_path, WindowSettings(InputSpec(), 16, 8)), seed=3).batch(0, 8)
    assert x.shape == (8, 16, 16, 16, 2) and y.shape == (8, 16, 16, 16, 3)
    assert x.dtype == y.dtype == np.float32
    # amplitudes beyond rounding are those of the map
    assert np.corrcoef(x[..., 0].ravel(), y[..., 2].ravel())[0, 1] > 0.99
    for kind in (0, 1):
        assert set(np.unique(y[..., kind])) == {0, 1}
        # the toy's density varies in the protein only
        assert y[..., 2][y[..., kind] == 0].std() > 2 * y[..., 2][y[..., kind] == 1].std()


def test_bytes_hold_a_window_as_finely_as_they_say():
    rng = np.random.default_rng(1)
    x = np.stack([rng.uniform(-4, 4, 1000), rng.uniform(-5, 7.75, 1000)], axis=-1)
    y = np.stack([rng.random(1000) > 0.5, rng.random(1000) > 0.5, rng.uniform(-4, 4, 1000)], axis=-1)
    packed = pack(x, y, 4.0)
    assert packed.dtype == np.uint8 and packed.shape == (1000, 3)
    again, truth = unpack(packed, 4.0)
    np.testing.assert_array_less(np.abs(again - x).max(axis=0), [0.5 * 4 / 127 + 1e-5, 0.025 + 1e-5])
    np.testing.assert_array_equal(truth[:, :2], y[:, :2])
    assert np.abs(truth[:, 2] - y[:, 2]).max() < 0.5 * 4 / 31 + 1e-5
    extreme = pack(np.array([[4.0, 99.0], [-4.0, -9.0]]), np.zeros((2, 3)), 4.0)
    np.testing.assert_allclose(unpack(extreme, 4.0)[0], [[4.0, 7.75], [-4.0, -5.0]], rtol=1e-6)


def test_maps_of_60_to_80_degrees_give_twice_the_windows(tmp_path):
    write_prepared(tmp_path, "aaaa", noises=(0.0, 1.0, 2.2, 2.5))  # 45, 60, 78 and 82.5 degrees
    manifest, = cut(tmp_path)
    assert [entry["windows"] for entry in manifest["maps"]] == [2, 4, 4, 2]
    assert len(manifest["crc32"]) == len(np.load(manifest["windows"])) == 12
    assert len(Windows([manifest], 1)) == 12
    firsts = Windows([manifest], 1, one_of_each_map=True)
    assert [window for _, window in firsts._places] == [0, 2, 6, 10]


def test_rotations_are_those_of_a_cube():
    """24 different ones, none of which turns the hand of a molecule."""
    points = np.stack(np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij"), axis=-1) - 1.5
    found = set()
    for number in range(24):
        moved = turn(points, number).reshape(-1, 3)
        matrix = np.linalg.lstsq(points.reshape(-1, 3), moved, rcond=None)[0]
        assert np.linalg.det(matrix) == pytest.approx(1.0)
        found.add(tuple(np.rint(matrix).astype(int).ravel()))
    assert len(found) == 24


def test_batches_are_reproducible_and_each_pass_shows_every_window(tmp_path):
    for code in ("aaaa", "bbbb"):
        write_prepared(tmp_path, code, noises=(0.0, 1.0))
    manifests = cut(tmp_path)
    one, again, other = Windows(manifests, 5), Windows(manifests, 5), Windows(manifests, 6)
    for a, b in zip(one.batch(3, 4), again.batch(3, 4)):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.batch(3, 4)[0], other.batch(3, 4)[0])
    def shown(step):  # what a rotation does not change
        return np.sort(one.batch(step, 12)[0][..., 0].reshape(12, -1), axis=1)[:, ::50]
    first, second = (set(map(bytes, shown(step))) for step in (0, 1))
    assert len(first) == 12 and first == second


def test_batches_are_read_ahead_in_order():
    asked = []

    def read(step):
        asked.append(step)
        if step == 7:
            raise ProgramError("made to fail")
        return step
    batches = read_ahead(read, 5)
    assert next(batches) == 5
    assert next(batches) == 6
    with pytest.raises(ProgramError, match="made to fail"):
        next(batches)
    assert asked[:3] == [5, 6, 7]


@pytest.mark.parametrize("killed_at", range(6))
def test_cutting_can_be_killed_at_any_point(tmp_path, monkeypatch, killed_at):
    """Windows that are complete stay, the others are cut anew, and all are what they should be."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
        for code in ("aaaa", "bbbb"):
            write_prepared(folder, code, noises=(0.5,))
    pid = os.fork()
    if not pid:  # killed at one of its calls that change files
        calls = iter(range(99))

        def deadly(function):
            def call(*arguments, **options):
                if next(calls) == killed_at:
                    os.kill(os.getpid(), 9)
                return function(*arguments, **options)
            return call
        monkeypatch.setattr(windows.os, "replace", deadly(os.replace))
        monkeypatch.setattr(windows.np, "save", deadly(np.save))
        cut(broken)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 9
    before = {path: path.stat().st_mtime_ns for path in (broken / "windows").glob("*.json")}
    assert len(before) == killed_at // 3
    manifests = cut(broken)
    assert [{**m, "windows": ""} for m in manifests] == [{**m, "windows": ""} for m in cut(whole)]
    Windows(manifests, 1).batch(0, 8)  # checks the bytes
    assert all(path.stat().st_mtime_ns == before[path] for path in before)
    assert not list((broken / "windows").glob("*.part"))


def test_structures_of_another_split_are_refused(tmp_path):
    write_prepared(tmp_path, "aaaa", split="test")
    with pytest.raises(InputError, match='aaaa_0.npz is of split "test", not "train"'):
        cut(tmp_path)
    cut(tmp_path, split="test")
    with pytest.raises(InputError, match='aaaa_0.npz is of split "test", not "validation"'):
        cut(tmp_path, split="validation")


def test_other_settings_are_refused(tmp_path):
    write_prepared(tmp_path, "aaaa")
    cut(tmp_path)
    with pytest.raises(InputError, match="'per_map': 2.*'per_map': 3"):
        cut(tmp_path, WindowSettings(InputSpec(), 16, 3))


def test_windows_of_a_structure_prepared_anew_are_cut_anew(tmp_path):
    write_prepared(tmp_path, "aaaa", noises=(0.5,))
    before, = cut(tmp_path)
    write_prepared(tmp_path, "aaaa", noises=(0.6,))
    after, = cut(tmp_path)
    assert before["sha256"] != after["sha256"] and before["crc32"] != after["crc32"]


def test_damaged_windows_are_found(tmp_path):
    write_prepared(tmp_path, "aaaa")
    manifest, = cut(tmp_path)
    source = Windows([manifest], 1)
    assert json.loads(json.dumps(source.provenance))["windows"] == len(source)
    stored = np.load(manifest["windows"], mmap_mode="r+")
    stored[:, 3, 3, 3, 0] ^= 1
    stored.flush()
    with pytest.raises(InputError, match="has changed since it was cut"):
        source.batch(0, 1)


def test_it_is_said_if_other_code_prepared_the_maps_to_validate_on(tmp_path, caplog):
    folders = [tmp_path / split for split in ("train", "validation")]
    for folder in folders:
        folder.mkdir()
        path = write_prepared(folder, "aaaa", split=folder.name)
        with np.load(path) as file:
            np.savez(path, made_by=made_by(), **file)
    config = TrainConfig(*map(str, folders), str(tmp_path / "run"), steps=1, window=16, workers=0)
    assert len(windows_of(config)[0]) and not caplog.text
    with np.load(path) as file:
        arrays = {**file, "made_by": "0.1.0+00000000"}
    np.savez(path, **arrays)
    windows_of(config)
    assert f"by {made_by()}, those to validate on by 0.1.0+00000000" in caplog.text
