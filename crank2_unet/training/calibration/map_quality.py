"""Calibration and test of the judgement of map quality and hand (:mod:`~.network.map_quality`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from ...crystal.grids import asymmetric_unit
from ...crystal.observations import PhasedData
from ...crystal.phases import angle_degrees, hl_from_phi_fom
from ...crystal.reflections import Reflections
from ...errors import InputError, ModelError
from ...files.output import staged, write_json
from ...network.map_quality import SAME_MAP, Linear, QualityModel, likeness
from ...network.model_card import ModelCard
from ...network.session import SolventNet
from ...pipeline import features_of_hand, features_of_map, sharpened_map
from ...solvent.content import estimate_solvent
from ..evaluation.masks import bin_name
from ..evaluation.metrics import format_table
from ..parallel import run_all
from ..preparation.prepared import PreparedStructure, prepared_files

FEATURES = ("logit_spread", "region_contrast", "region_step", "agreement", "contrast", "skewness")
HAND_FEATURES = (*FEATURES, "fom", "gamma", "f_correlation", "modified_skewness")
# the hand with the larger value is taken to be right
CLASSICAL = ("contrast", "skewness", "modified_skewness")
_RIDGE = 1.0  # in units of one structure, for features of unit variance
# degrees; better phases are worth a mask, and hardly any map of them may be called structureless
_FAIR = 80.0
_FALSE_ALARMS = 0.01  # among fair maps
# among random phases; more would warn of more than 2 % of fair maps that it was not fitted to
_RIGHT_ALARMS = 0.7
_BINS = (60.0, 70.0, 80.0)  # degrees, phase error of the right hand
_FEWEST = 10  # crystals, twice as many as there are weights


def calibrate_quality(prepared: str | Path, card: str | Path | None, workers: int = 1,
                      scheduler: str | None = None, limit: int | None = None) -> dict:
    """Fit the judgement of maps and hands to prepared structures; write it into the model card.

    Parameters
    ----------
    prepared : folder of structures prepared in both hands.
    card : of the network; None: the packaged one.
    workers, scheduler : see :func:`~crank2_unet.training.parallel.run_all`.
    limit : number of files used, chosen at random; default: all.

    Returns
    -------
    The report of :func:`evaluate_quality` on the structures of the calibration.
    """
    path = ModelCard.read(card).path
    records, failures = _examine(prepared, path, workers, scheduler, limit)
    model = fit(records)
    content = json.loads(path.read_text())
    with staged(path.parent) as stage:
        write_json({**content, "quality": {**asdict(model), "n_structures": len(records)}},
                   stage / path.name)
    return {**summarise(records, model), "failures": failures}


def evaluate_quality(prepared: str | Path, card: str | Path | None, out: str | Path,
                     workers: int = 1, scheduler: str | None = None, limit: int | None = None) -> dict:
    """How often the right hand is found and how good the expected map correlations are.

    Parameters
    ----------
    prepared : folder of structures prepared in both hands, not those of the calibration.
    card : of the network; None: the packaged one.
    out : folder for ``quality.json``.
    workers, scheduler, limit : as in :func:`calibrate_quality`.

    Returns
    -------
    The report, as in ``quality.json``; :func:`render` shows it.

    Raises
    ------
    ModelError : the card has no calibration of map quality.
    """
    read = ModelCard.read(card)
    if read.quality is None:
        raise ModelError(f"Model {read.name} {read.version} has no calibration of map quality. "
                         "Run 'crank2-unet model quality' first.")
    records, failures = _examine(prepared, read.path, workers, scheduler, limit)
    report = {**summarise(records, read.quality), "failures": failures}
    with staged(out) as stage:
        write_json(report, stage / "quality.json")
    return report


def _examine(prepared: str | Path, card: Path, workers: int, scheduler: str | None,
             limit: int | None) -> tuple[list[dict], dict[str, str]]:
    jobs = {file.stem: (str(file), str(card.resolve())) for file in prepared_files(prepared, limit)}
    results, failures = run_all(examine_file, jobs, workers, scheduler)
    return list(results.values()), failures


def examine_file(path: str, card: str) -> dict:
    """Features of the maps of a prepared file.

    Returns
    -------
    name, spacegroup and phase_error (degrees, of the right hand); cc: correlation of its map with the
    true one; likeness of both hands; right and wrong: features by
    :func:`~crank2_unet.pipeline.features_of_hand`; noise: features of a map with the amplitudes of
    the right one and random phases.
    """
    structure = PreparedStructure.read(path)
    data, other = structure.data, structure.other_hand
    if other is None:
        raise InputError(f"{path} holds one hand only. Prepare the structures anew with "
                         "'crank2-unet model prepare --both-hands'.")
    net = SolventNet.load(card, "cpu", threads=1)
    noise = random_phases(data.reflections, data.coefficients, sum(structure.code.encode()))
    hands = data, replace(data, reflections=other.reflections, coefficients=other.coefficients)
    right, wrong = (_features(hand, net) for hand in hands)
    return {"name": Path(path).stem, "spacegroup": data.reflections.spacegroup.xhm(),
            "phase_error": float(structure.phase_error[0]), "cc": float(structure.map_cc[0]),
            "likeness": likeness(*(sharpened_map(hand).density for hand in hands)),
            "right": right, "wrong": wrong,
            "noise": features_of_map(replace(data, coefficients=noise), net)[0]}


def _features(hand: PhasedData, net: SolventNet) -> dict:
    """Features of a hand, whose phase probabilities are taken from its map."""
    fom = np.clip(np.nan_to_num(np.abs(hand.coefficients) / hand.f), 0.0, 0.999)
    phi = angle_degrees(hand.coefficients)
    hand = replace(hand, hl=hl_from_phi_fom(phi, fom, hand.reflections.allowed_phase))
    first, logits = features_of_map(hand, net)
    content = estimate_solvent(logits.array[asymmetric_unit(logits)], net.card.cutoffs).value
    return features_of_hand(hand, net, content, first)


def random_phases(reflections: Reflections, coefficients: np.ndarray, seed: int) -> np.ndarray:
    """Map coefficients (n,) with the given amplitudes and random phases."""
    rng = np.random.default_rng(seed)
    allowed = np.nan_to_num(reflections.allowed_phase) + 180.0 * rng.integers(0, 2, len(coefficients))
    phi = np.where(reflections.centric, allowed, rng.uniform(0, 360, len(coefficients)))
    return np.abs(coefficients) * np.exp(1j * np.deg2rad(phi))


def fit(records: Sequence[dict]) -> QualityModel:
    """Fit to the records of :func:`examine_file`.

    Raises
    ------
    InputError : too few of them.
    """
    usable = _with_two_hands(records)
    if len(usable) < _FEWEST:
        raise InputError(f"Only {len(usable)} crystals can be used to calibrate map quality. "
                         f"Give at least {_FEWEST}; a hundred are better.")
    kinds = {kind: _table([record[kind] for record in records])
             for kind in ("right", "noise")}
    fair = np.array([record["phase_error"] < _FAIR for record in records])
    if not fair.any():
        raise InputError(f"None of the {len(records)} crystals has a phase error below {_FAIR:g} "
                         "degrees. Give better ones, too.")
    correlation, uncertainty = _fit_correlation(
        kinds["right"], np.array([record["cc"] for record in records]))
    right, wrong = (_table([record[kind] for record in usable], HAND_FEATURES)
                    for kind in ("right", "wrong"))
    return QualityModel(correlation, uncertainty, _fit_hand(right - wrong),
                        _fit_structure(kinds["right"][fair], kinds["noise"]))


def _with_two_hands(records: Sequence[dict]) -> list[dict]:
    """Records of crystals with a wrong hand; centrosymmetric scatterers have none."""
    return [record for record in records if record["likeness"] < SAME_MAP]


def _table(maps: Sequence[dict], names: Sequence[str] = FEATURES) -> np.ndarray:
    """(n, features)"""
    return np.array([[found[name] for name in names] for found in maps])


def _fit_correlation(x: np.ndarray, cc: np.ndarray) -> tuple[Linear, float]:
    """Ridge regression, and the standard deviation of its errors when each map is left out."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    z = (x - mean) / scale
    inverse = np.linalg.inv(z.T @ z + _RIDGE * np.eye(z.shape[1]))
    slope = inverse @ z.T @ (cc - cc.mean())
    leverage = np.einsum("ij,jk,ik->i", z, inverse, z) + 1 / len(cc)
    error = (cc - cc.mean() - z @ slope) / (1 - leverage)
    weights = slope / scale
    return _linear(float(cc.mean() - mean @ weights), FEATURES, weights), float(error.std())


def _fit_hand(difference: np.ndarray) -> Linear:
    """Logistic regression without intercept: the right hand less the wrong one is "true"."""
    scale = np.sqrt(np.mean(difference ** 2, axis=0))
    z = difference / scale

    def target(w: np.ndarray) -> float:
        return np.logaddexp(0, -z @ w).sum() + _RIDGE / 2 * w @ w
    return _linear(0.0, HAND_FEATURES,
                   minimize(target, np.zeros(z.shape[1]), method="BFGS").x / scale)


def _fit_structure(fair: np.ndarray, noise: np.ndarray) -> Linear:
    """Fisher's discriminant of fair maps and noise, cut at the accepted shares of alarms."""
    scatter = sum(np.cov(x, rowvar=False) for x in (fair, noise))
    weights = np.linalg.solve(scatter, fair.mean(axis=0) - noise.mean(axis=0))
    cut = min(np.quantile(fair @ weights, _FALSE_ALARMS), np.quantile(noise @ weights, _RIGHT_ALARMS))
    return _linear(-float(cut), FEATURES, weights)


def _linear(intercept: float, names: Sequence[str], weights: np.ndarray) -> Linear:
    return Linear(intercept, dict(zip(names, map(float, weights))))


def summarise(records: Sequence[dict], model: QualityModel) -> dict:
    """The report of all records.

    Returns
    -------
    n; n_same_map (crystals without a wrong hand, left out of hands and calibration); hands: for bins
    of the phase error, share of crystals whose right hand is found by the network and by each
    classical measure, skewness also after the same density modification; calibration: mean
    probability given to the hand that was chosen and how often it was right; correlation: of
    expected and true map correlation, its root-mean-square error, and share within two
    uncertainties; alarms: share of maps said to have no solvent structure; wrong (name ->
    probability of the right hand); records.
    """
    handed = _with_two_hands(records)
    right = np.array([model.probability_of_hand(r["right"], r["wrong"]) for r in handed])
    errors = np.array([r["phase_error"] for r in handed])
    found = {"network": right > 0.5, **{
        name.replace("_", " "): np.array([r["right"][name] > r["wrong"][name] for r in handed])
        for name in CLASSICAL}}
    groups = {f"below {_FAIR:g}": errors < _FAIR}
    place = np.searchsorted(_BINS, errors, side="right")
    groups |= {bin_name(_BINS, i): place == i for i in np.unique(place)}
    judged = {kind: [model.judge(r[kind]) for r in records]
              for kind in ("right", "wrong", "noise")}
    expected = np.array([q.correlation for q in judged["right"]])
    true = np.array([r["cc"] for r in records])
    fair = np.array([r["phase_error"] < _FAIR for r in records])
    alarm = {kind: np.array([not q.solvent_structure for q in qualities])
             for kind, qualities in judged.items()}
    chosen = np.maximum(right, 1 - right)
    return {
        "n": len(records), "n_same_map": len(records) - len(handed),
        "hands": [{"phase error": name, "n": int(inside.sum()),
                   **{method: _share(hits[inside]) for method, hits in found.items()}}
                  for name, inside in groups.items()],
        "calibration": {"probability": float(chosen.mean()), "right": _share(found["network"])},
        "correlation": {"correlation": float(np.corrcoef(expected, true)[0, 1]),
                        "rms_error": float(np.sqrt(np.mean((expected - true) ** 2))),
                        "within_2_sd": float(np.mean(np.abs(expected - true) < 2 * model.uncertainty))},
        "alarms": {f"right hand, below {_FAIR:g} degrees": _share(alarm["right"][fair]),
                   "right hand, above": _share(alarm["right"][~fair]),
                   "wrong hand": _share(alarm["wrong"]), "random phases": _share(alarm["noise"])},
        "wrong": {r["name"]: float(p) for r, p in zip(handed, right) if p <= 0.5},
        "records": list(records)}


def _share(hits: np.ndarray) -> float | None:
    return float(np.mean(hits)) if len(hits) else None


def render(report: dict) -> str:
    """The report as tables in plain text."""
    hands = report["hands"]
    calibration, correlation = report["calibration"], report["correlation"]
    parts = [f"{report['n']} crystals, {report['n_same_map']} of them without a wrong hand; share of "
             "the others whose right hand is found, by phase error (degrees)",
             format_table(list(hands[0]), [list(row.values()) for row in hands]),
             f"Mean probability of the hand chosen {calibration['probability']:.3f}; "
             f"it is right in {calibration['right']:.3f}",
             "Expected against true map correlation (right hand): correlation "
             f"{correlation['correlation']:.3f}, rms error {correlation['rms_error']:.3f}, within two "
             f"uncertainties {correlation['within_2_sd']:.3f}",
             format_table(["maps", "said to have no solvent structure"],
                          [list(row) for row in report["alarms"].items()])]
    if report["wrong"]:
        named = (f"{name} ({p:.2f})" for name, p in report["wrong"].items())
        parts.append(f"Wrong hand chosen (probability of the right one): {', '.join(named)}")
    parts += [f"{name} failed: {message}" for name, message in report["failures"].items()]
    return "\n\n".join(parts)
