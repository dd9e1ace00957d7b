"""Prepared structures of invented crystals and a toy network, for tests."""

import hashlib
from pathlib import Path

import gemmi
import numpy as np

from crank2_unet.crystal.filters import soften
from crank2_unet.crystal.grids import asymmetric_unit, empty_grid, like, structure_factors
from crank2_unet.crystal.masks import cut_at_fraction
from crank2_unet.crystal.reflections import Reflections, spacegroup_of

SOLVENT = 0.55
CELL = gemmi.UnitCell(38, 42, 47, 90, 90, 90)
INPUT = {"spacing": 1.2, "clip": 4.0, "deviation_radius": 3.0}


def symmetric_noise(grid: gemmi.FloatGrid, rng: np.random.Generator) -> gemmi.FloatGrid:
    noise = like(grid, rng.standard_normal(grid.shape))
    noise.symmetrize_avg()
    return noise


def write_prepared(folder: Path, code: str, noises=(1.0,), d_min: float = 2.6,
                   both_hands: bool = False, split: str = "train") -> Path:
    """Density that varies in a blob of protein, with one map for each level of added noise.

    The wrong hand, if wanted, is the noise alone.
    """
    rng = np.random.default_rng(sum(code.encode()))
    reflections = Reflections(CELL, spacegroup_of("P 21 21 21", "test"), d_min)
    truth = empty_grid(CELL, reflections.spacegroup, 1.0)
    truth = cut_at_fraction(soften(symmetric_noise(truth, rng), 4.0), SOLVENT)
    protein = like(truth, symmetric_noise(truth, rng).array * (1 - truth.array))
    noisy = [like(truth, protein.array + level * symmetric_noise(truth, rng).array)
             for level in noises]
    maps = [structure_factors(density, reflections) for density in noisy]
    f_true = structure_factors(protein, reflections)
    f = np.abs(f_true)
    other = {"other_spacegroup": "P 21 21 21", "other_map_cc": 0.0,
             "other_coefficients": structure_factors(symmetric_noise(truth, rng), reflections)}
    residues = round((1 - SOLVENT) * CELL.volume / 4 / 1.23 / 112.5)
    path = folder / f"{code}_0.npz"
    np.savez(path, code=code, split=split, variant=0, cell=np.array(CELL.parameters), d_min=d_min,
             spacegroup="P 21 21 21", f=f, sigf=0.1 * f, hl=np.zeros((len(f), 4)),
             coefficients=np.array(maps, np.complex64), map_cycle=np.arange(len(maps)),
             phase_error=45.0 + 15.0 * np.array(noises), map_cc=1 / (1 + np.array(noises)),
             truth=np.packbits(truth.array > 0.5), truth_shape=np.array(truth.shape),
             n_residues=residues, phi_true=np.rad2deg(np.angle(f_true)),
             solvent_matthews=float(truth.array[asymmetric_unit(truth)].mean()),
             **(other if both_hands else {}))
    return path


def write_toy_network(path: Path, slope: float, offset: float) -> str:
    """Network both of whose logits are ``offset - slope * local deviation``; returns its sha256."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    kernel = np.array([[0.0, -slope]] * 2, np.float32).reshape(2, 2, 1, 1, 1)
    weights = [numpy_helper.from_array(kernel, "kernel"),
               numpy_helper.from_array(np.array([offset] * 2, np.float32), "bias")]
    nodes = [helper.make_node("Conv", ["density", "kernel", "bias"], ["logits"])]
    size = ["d", "h", "w"]
    graph = helper.make_graph(
        nodes, "toy",
        [helper.make_tensor_value_info("density", TensorProto.FLOAT, ["n", 2, *size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2, *size])], weights)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    checker.check_model(model)
    save(model, str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def toy_card(folder: Path, files: list, slope: float = 1.0, offset: float = 0.0) -> Path:
    """Card of a toy network in a folder, calibrated on prepared files."""
    from crank2_unet.training.calibration.calibrate import ONNX_FILE, calibrate

    write_toy_network(folder / ONNX_FILE, slope, offset)
    calibrate(folder, {"name": "toy", "version": "1.0.0", "input": INPUT,
                       "window": {"size": 32, "margin": 4},
                       "training": {"d_min_range": [2.0, 3.0]}}, files, workers=0)
    return folder / "solvent.json"
