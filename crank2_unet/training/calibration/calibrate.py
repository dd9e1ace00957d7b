"""Model card of a trained network: probabilities and solvent contents set right, and provenance.

A network's logits are too sure of themselves or shifted.  Scale and offset that minimise the
cross-entropy make them calibrated (Platt scaling); the cutoffs that give the true solvent contents
are what the estimate of the solvent content needs (Skubák, 2024, equation 1).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from ... import __version__
from ...errors import InputError, ModelError
from ...files.output import staged, write_json
from ...network.inputs import InputSpec
from ...network.model_card import DEFAULT_CARD, KINDS
from ...network.session import SolventNet, self_test_values
from ...solvent.content import CutoffDistribution, cutoff_for
from ..evaluation.predictions import predict
from ..parallel import run_all
from ..preparation.prepared import PreparedHeader, PreparedStructure, prepared_files

_log = logging.getLogger(__name__)
ONNX_FILE = "solvent.onnx"
LIMITS = ("Trained on protein crystals: nucleic acids are not recognised reliably.",
          "Trained on simulated SAD maps within d_min_range and phase_error_range.",
          "Lipids and detergent of membrane proteins count as solvent in the training masks.")
# logits, finer than any effect on a probability; e^-40 is nothing
_EDGES = np.linspace(-40.0, 40.0, 3201)
_CENTRES = (_EDGES[1:] + _EDGES[:-1]) / 2
_SELF_TEST_SIZE = 32  # points along a window edge: a fraction of a second, all layers at work
# logits; GPUs that multiply in 10 bits (TF32) stay below, wrong weights do not
_SELF_TEST_TOLERANCE = 0.05
_RELIABILITY_BINS = 10


@dataclass(frozen=True)
class LogitSummary:
    """What calibration needs of one prepared structure.

    Parameters
    ----------
    histograms : (2, 2, bins) for solvent and for flat density, share of points by truth (0 is not,
        1 is) and raw logit, sum 1 each.
    cutoff : raw logit of solvent that gives the first map the structure's true solvent content.
    """

    histograms: np.ndarray
    cutoff: float


def make_card(checkpoint: str | Path, prepared: str | Path, out: str | Path, version: str,
              name: str = "solvent", window: int = 96, margin: int = 12,
              training: str | Path | None = None, limit: int | None = None,
              limits: Sequence[str] = LIMITS, workers: int = 1, scheduler: str | None = None,
              ) -> Path:
    """Export a checkpoint and calibrate it.

    Parameters
    ----------
    checkpoint : of :func:`crank2_unet.training.fitting.train.train`.
    prepared : folder of prepared structures to calibrate on; none the network was trained on,
        nor those to be evaluated on.
    out : folder for ``solvent.onnx``, its card ``solvent.json`` and ``reliability.png``, which
        appear together when all of them are complete.
    version, name : of the model.
    window, margin : largest window and context at each side, in window points.
    training : folder of the structures the network was trained on; default: as in the checkpoint.
    limit : number of prepared files used, chosen at random; default: all.
    limits : known limits of the model, in plain words.
    workers, scheduler : see :func:`~crank2_unet.training.parallel.run_all`.

    Returns
    -------
    Path of the card.

    Raises
    ------
    InputError : fewer than two prepared structures, or the training structures are not found.
    ModelError : the network tells solvent from protein no better than chance.
    """
    from ..fitting.export import to_onnx
    from ..fitting.trainer import load_network

    model, config = load_network(checkpoint)
    with np.load(checkpoint) as file:
        steps = int(file["step"])
    training = training or config.training
    files = prepared_files(prepared, limit)
    _warn_of_overlap(files, Path(training))
    card = {"name": name, "version": version, "licence": "MIT", "limits": list(limits),
            "input": asdict(config.input), "window": {"size": window, "margin": margin},
            "training": {**describe_structures(training), "steps": steps, "seed": config.seed,
                         "config": _settings(config), "versions": _versions(),
                         "code_version": __version__}}
    with staged(out) as stage:
        to_onnx(model, stage / ONNX_FILE)
        calibrate(stage, card, files, workers, scheduler)
    return Path(out) / DEFAULT_CARD


def calibrate(folder: Path, card: dict, files: Sequence[Path], workers: int = 1,
              scheduler: str | None = None) -> None:
    """Calibrate ``solvent.onnx`` in a folder; write its card and the reliability picture there.

    Parameters
    ----------
    folder : holds the network as exported.
    card : name, version, input, window, training, limits and licence.
    files : prepared structures; each has the same weight.
    """
    path = folder / DEFAULT_CARD
    card = {**card, **_uncalibrated(folder / ONNX_FILE, InputSpec(**card["input"]).channels)}
    write_json(card, path)
    jobs = {file.stem: (str(file), str(path)) for file in files}
    summaries, failures = run_all(summarise, jobs, workers, scheduler)
    if len(summaries) < 2:
        raise InputError(f"Only {len(summaries)} prepared structure is usable for calibration. "
                         "Give at least two; some hundred are better.")
    histograms = np.mean([s.histograms for s in summaries.values()], axis=0)
    fits = np.array([fit_scale_offset(histogram) for histogram in histograms])
    kinds = {kind: {"scale": scale, "offset": offset,
                    "reliability": reliability(histogram, scale, offset),
                    "cross_entropy": {"before": cross_entropy(histogram, 1.0, 0.0),
                                      "after": cross_entropy(histogram, scale, offset)}}
             for kind, histogram, (scale, offset) in zip(KINDS, histograms, fits)}
    test = card["self_test"]
    write_json({**card, "calibration": kinds}, path)
    exact = SolventNet.load(path, "cpu", runtime="onnxruntime")  # in float32 everywhere
    values = self_test_values(exact.logits, test["seed"], test["shape"])
    scale, offset = fits[0]
    cutoffs = scale * np.array([s.cutoff for s in summaries.values()]) + offset
    write_json({
        **card,
        "calibration": {**kinds, "n_structures": len(summaries), "failures": failures},
        "cutoff_distribution": CutoffDistribution.from_samples(cutoffs).to_json(),
        "self_test": {**test, "values": values, "tolerance": _SELF_TEST_TOLERANCE}},
        path)
    plot_reliability({kind: fit["reliability"] for kind, fit in kinds.items()},
                     folder / "reliability.png")


def summarise(path: str, card: str) -> LogitSummary:
    """Logits of all maps of a prepared file by an uncalibrated network."""
    structure = PreparedStructure.read(path)
    net = SolventNet.load(card, "cpu", threads=1)
    histograms = np.zeros((len(KINDS), 2, len(_CENTRES)))
    cutoffs = []
    for number in range(len(structure.coefficients)):
        found, true = predict(structure, number, net)
        cutoffs.append(cutoff_for(found.solvent, structure.solvent_matthews))
        for histogram, logits, truth in zip(histograms, found, true):
            logits = np.clip(logits, _EDGES[0], _EDGES[-1])
            histogram += [np.histogram(logits[truth == side], _EDGES)[0] for side in (False, True)]
    # the solvent content is estimated from the first map, before it is flattened
    return LogitSummary(histograms / histograms[0].sum(), float(cutoffs[0]))


def fit_scale_offset(histogram: np.ndarray) -> tuple[float, float]:
    """Scale and offset of the logits with the least cross-entropy (a convex problem).

    ``histogram`` is one of those of :class:`LogitSummary`.

    Raises
    ------
    ModelError : the best scale is not positive.
    """
    def target(x: np.ndarray) -> tuple[float, np.ndarray]:
        residual = histogram.sum(axis=0) * expit(x[0] * _CENTRES + x[1]) - histogram[1]
        return cross_entropy(histogram, *x), np.array([residual @ _CENTRES, residual.sum()])

    scale, offset = minimize(target, (1.0, 0.0), jac=True, method="BFGS").x
    if not scale > 0:
        raise ModelError(f"The logits have to be scaled by {scale:.3g}: the network tells solvent "
                         "from protein no better than chance. Train it longer.")
    return float(scale), float(offset)


def cross_entropy(histogram: np.ndarray, scale: float, offset: float) -> float:
    """Mean cross-entropy, nats, of the points of a histogram of raw logits."""
    z = scale * _CENTRES + offset
    return float(histogram[0] @ np.logaddexp(0, z) + histogram[1] @ np.logaddexp(0, -z))


def reliability(histogram: np.ndarray, scale: float, offset: float) -> list[dict[str, float]]:
    """Predicted probability, its observed frequency and the share of points, by bin."""
    p = expit(scale * _CENTRES + offset)
    place = np.minimum((p * _RELIABILITY_BINS).astype(int), _RELIABILITY_BINS - 1)
    both = histogram.sum(axis=0)
    share, predicted, solvent = (np.bincount(place, weights, _RELIABILITY_BINS)
                                 for weights in (both, both * p, histogram[1]))
    return [{"predicted": predicted[i] / share[i], "observed": solvent[i] / share[i],
             "share": share[i]} for i in np.flatnonzero(share)]


def plot_reliability(kinds: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Picture of :func:`reliability` of solvent and of flat density."""
    from matplotlib.figure import Figure

    figure = Figure((4.0 * len(kinds), 4.0), layout="constrained")
    for axes, (kind, bins) in zip(figure.subplots(1, len(kinds)), kinds.items()):
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        axes.bar([b["predicted"] for b in bins], [b["share"] for b in bins], 0.04, color="lightgrey",
                 label="share of points")
        axes.plot([b["predicted"] for b in bins], [b["observed"] for b in bins], "o-",
                  label=f"found to be {kind}")
        axes.set(xlabel=f"predicted P({kind})", xlim=(0, 1), ylim=(0, 1))
        axes.legend()
    figure.savefig(path)


def describe_structures(folder: str | Path) -> dict:
    """Codes, number of maps, point groups and ranges of resolution and phase error of prepared
    structures."""
    codes: list[str] = []
    d_min: list[float] = []
    errors: list[float] = []
    groups: set[str] = set()
    for path in prepared_files(folder):
        header = PreparedHeader.read(path)
        codes.append(header.code)
        d_min.append(header.d_min)
        errors.extend(header.phase_error)
        groups.add(header.spacegroup.point_group_hm())
    return {"structures": sorted(set(codes)), "n_maps": len(errors), "point_groups": sorted(groups),
            "d_min_range": [min(d_min), max(d_min)],
            "phase_error_range": [min(errors), max(errors)]}


def _uncalibrated(onnx: Path, channels: int) -> dict:
    """Entries of a provisional card: raw logits, any cutoff and any prediction accepted."""
    return {"file": onnx.name, "sha256": hashlib.sha256(onnx.read_bytes()).hexdigest(),
            "calibration": {kind: {"scale": 1.0, "offset": 0.0} for kind in KINDS}, "metrics": {},
            "cutoff_distribution": {"cutoffs": [-1.0, 1.0], "density": [0.5, 0.5]},
            "self_test": {"seed": 1, "shape": [channels, *[_SELF_TEST_SIZE] * 3],
                          "values": [0.0] * 6, "tolerance": 1e9}}


def _warn_of_overlap(files: Sequence[Path], training: Path) -> None:
    shared = [file.name for file in files if (training / file.name).exists()]
    if shared:
        _log.warning("The network may have been trained on %d of the %d files it is calibrated on, "
                     "such as %s: it would be found too good.", len(shared), len(files), shared[0])


def _settings(config) -> dict:
    """Settings of a training but for the folders, which mean nothing elsewhere."""
    return {name: value for name, value in asdict(config).items()
            if name not in ("training", "validation", "output")}


def _versions() -> dict[str, str]:
    """Versions of the libraries that decide the result of a training."""
    installed = {d.metadata["Name"].lower().replace("_", "-"): d.version
                 for d in metadata.distributions()}
    return {name: installed[name] for name in ("gemmi", "keras", "numpy", "onnx", "onnxruntime",
            "scipy", "tensorflow", "tensorflow-cpu", "torch", "jax") if name in installed}
