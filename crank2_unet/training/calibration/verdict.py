"""Fit of the expected correlation after density modification (:mod:`~.network.verdict`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from ...crystal.maps import CrystalMap
from ...crystal.observations import PhasedData
from ...crystal.phases import (
    angle_degrees,
    hl_from_phi_fom,
    map_correlation,
    phi_fom_from_hl,
    to_complex,
)
from ...errors import InputError, ModelError
from ...modification.engine import EmbeddedEngine
from ...network.map_quality import SAME_MAP, likeness
from ...network.model_card import ModelCard
from ...network.session import SolventNet
from ...network.verdict import (
    AT,
    EVIDENCE,
    REGRESSIONS,
    WORDS,
    Regression,
    features_of_result,
    word_for,
)
from ...pipeline import plan, sharpened_map
from ...solvent.matthews import Composition
from ..evaluation.metrics import format_table
from ..parallel import run_all
from ..preparation.prepared import PreparedStructure, prepared_files
from .map_quality import random_phases

# of each kind of map: of those that are given to density modification, half are taken to be right
WEIGHTS = {"right": 1.0, "wrong": 0.5, "noise": 0.5}
_RIDGE = 0.3  # in units of one map, for numbers of unit variance
_FOLDS = 10
_BEYOND_CHANCE = 0.3  # correlations of maps that have nothing in common, at their best place, are less
_NEAR = 0.15  # width of a Gaussian, of expected correlations
_GOOD, _WRONG = 0.7, 0.2  # correlations of good and of wrong maps, of which ranges are told
_BINS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def calibrate_verdict(prepared: str | Path, card: str | Path | None, workers: int = 1,
                      scheduler: str | None = None, limit: int | None = None) -> str:
    """Modify the density of prepared structures in both hands and with random phases, and fit.

    Parameters
    ----------
    prepared : folder of structures prepared in both hands, which the network has not seen.
    card : of the network; None: the packaged one.
    workers, scheduler : see :func:`~crank2_unet.training.parallel.run_all`.
    limit : number of files used, chosen at random; default: all.

    Returns
    -------
    What :func:`render` says of them.

    Raises
    ------
    ModelError : the card has no calibration of map quality.
    InputError : all maps are good, or none.
    """
    read = ModelCard.read(card)
    if read.quality is None:
        raise ModelError(f"Model {read.name} {read.version} has no calibration of map quality. "
                         "Run 'crank2-unet model quality' first.")
    path = str(read.path.resolve())
    jobs = {file.stem: (str(file), path) for file in prepared_files(prepared, limit)}
    results, _ = run_all(examine_file, jobs, workers, scheduler)
    return render([row for found in results.values() for row in found["maps"]])


def examine_file(path: str, card: str) -> dict:
    """Density modification of a prepared file.

    Returns
    -------
    maps: for each kind ("right", "wrong", "noise"; without the wrong hand where it is the same map)
    name of the crystal, kind, correlation with the true map and features.
    """
    structure = PreparedStructure.read(path)
    data, other = structure.data, structure.other_hand
    if other is None:
        raise InputError(f"{path} holds one hand only. Prepare the structures anew with "
                         "'crank2-unet model prepare --both-hands'.")
    net = SolventNet.load(card, "cpu", threads=1)
    composition = Composition.from_residues(structure.n_residues)
    random = random_phases(data.reflections, data.coefficients, sum(structure.code.encode()))
    wrong = _unimodal(replace(data, reflections=other.reflections), other.coefficients)
    given = {"right": data, "noise": _unimodal(data, random)}
    if likeness(sharpened_map(data).density, sharpened_map(wrong).density) < SAME_MAP:
        given["wrong"] = wrong
    truth = CrystalMap(data.reflections, to_complex(np.nan_to_num(data.f), structure.phi_true))
    return {"maps": [{"name": Path(path).stem, "kind": kind,
                      **_modified(phased, net, composition, truth, kind == "right")}
                     for kind, phased in given.items()]}


def _unimodal(data: PhasedData, coefficients: np.ndarray) -> PhasedData:
    """Data whose phases are those of a map."""
    fom = np.clip(np.nan_to_num(np.abs(coefficients) / data.f), 0.0, 0.999)
    hl = hl_from_phi_fom(angle_degrees(coefficients), fom, data.reflections.allowed_phase)
    return replace(data, hl=hl, coefficients=coefficients)


def _modified(data: PhasedData, net: SolventNet, composition: Composition, truth: CrystalMap,
              right: bool) -> dict:
    """Correlation with the true map and features.

    Sites that are nearly centrosymmetric give both maps at once, of which density modification may
    find the right one from either hand, with another origin (seen on 5sv2 and on gamma-adaptin): maps
    that are not taken to be right have the correlation of their best place if that is beyond chance,
    else 0.
    """
    by = plan(data, net, "unet", composition)
    as_dm_does = EmbeddedEngine(ncs_from_map=True)
    modified = as_dm_does.modify(data, by.weights, by.solvent_content, None, Path("."))
    phi, fom = phi_fom_from_hl(modified.hl, data.reflections.allowed_phase)
    found = CrystalMap(data.reflections, to_complex(fom * np.nan_to_num(data.f), phi))
    if right:
        correlation = map_correlation(found.coefficients, truth.coefficients,
                                      data.reflections.multiplicity)
    else:
        correlation = likeness(found.density, truth.density)
        correlation = correlation if correlation > _BEYOND_CHANCE else 0.0
    return {"correlation": max(correlation, 0.0),
            "features": features_of_result(data, modified, by.found.quality if by.found else None)}


def fit(maps: Sequence[dict], names: Sequence[str]) -> tuple[Regression, np.ndarray]:
    """Logistic regression of the correlation on some numbers.

    Parameters
    ----------
    maps : name of the crystal, kind, correlation and features of each.
    names : of the features.

    Returns
    -------
    The regression, whose uncertainty is that of crystals it was not fitted to, and what is expected
    of each map by a fit without its crystal.
    """
    features = np.array([[row["features"][name] for name in names] for row in maps])
    truth = np.array([row["correlation"] for row in maps])
    weight = np.array([WEIGHTS[row["kind"]] for row in maps])
    crystals = sorted({row["name"] for row in maps})
    fold = np.array([crystals.index(row["name"]) % _FOLDS for row in maps])
    expected = np.empty(len(maps))
    for number in range(_FOLDS):
        out = fold == number
        if out.any():
            intercept, slopes = _logistic(features[~out], truth[~out], weight[~out])
            expected[out] = expit(intercept + features[out] @ slopes)
    low, middle, high = (_deviation(expected - truth, weight, expected - place) for place in AT)
    intercept, slopes = _logistic(features, truth, weight)
    return Regression(intercept, dict(zip(names, map(float, slopes))), (low, middle, high)), expected


def _deviation(error: np.ndarray, weight: np.ndarray, distance: np.ndarray) -> float:
    """Root mean square error of the maps at little distance."""
    return float(np.sqrt(np.average(error**2, weights=weight * np.exp(-(distance / _NEAR)**2 / 2))))


def _logistic(features: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Intercept and slopes (m,) with the least cross-entropy."""
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-9
    design = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    ridge = _RIDGE * np.append(0.0, np.ones(features.shape[1]))

    def cost(x: np.ndarray) -> tuple[float, np.ndarray]:
        z = design @ x
        return (weight @ (np.logaddexp(0, z) - truth * z) + ridge @ x**2 / 2,
                design.T @ (weight * (expit(z) - truth)) + ridge * x)
    found = minimize(cost, np.zeros(design.shape[1]), jac=True, method="BFGS").x
    slopes = found[1:] / scale
    return float(found[0] - slopes @ mean), slopes


def render(maps: Sequence[dict]) -> str:
    """The regressions and ranges to be written into :mod:`~.network.verdict`, and how good they are."""
    kinds, truth = [row["kind"] for row in maps], np.array([row["correlation"] for row in maps])
    if truth.min() >= _WRONG or truth.max() <= _GOOD:
        raise InputError(f"The {len(maps)} maps have correlations of {truth.min():.2f} to "
                         f"{truth.max():.2f}: there must be good and wrong ones. Prepare more "
                         "structures.")
    parts = [", ".join(f"{kinds.count(kind)} {kind}" for kind in WEIGHTS)]
    words: list[str] = []
    for regression in REGRESSIONS:
        fitted, expected = fit(maps, list(regression.weights))
        weights = ", ".join(f'"{name}": {value:.2f}' for name, value in fitted.weights.items())
        errors = ", ".join(f"{error:.2f}" for error in fitted.uncertainty)
        parts.append(f"Regression({fitted.intercept:.2f}, {{{weights}}}, ({errors}))")
        words = words or [word_for(replace(fitted, intercept=float(logit(p)), weights={})({}))
                          for p in np.clip(expected, 1e-6, 1 - 1e-6)]
    for name in EVIDENCE:
        values = np.array([row["features"][name] for row in maps])
        parts.append(f"{name}: good from {np.quantile(values[truth > _GOOD], 0.05):.2f}, wrong to "
                     f"{np.quantile(values[truth < _WRONG], 0.95):.2f}")
    place = np.digitize(truth, _BINS)
    edges = ("0", *map(str, _BINS), "1")
    rows = [[f"{edges[i]} - {edges[i + 1]}", *(sum(word == said and where == i for said, where in
                                                   zip(words, place)) for word in WORDS)]
            for i in range(len(_BINS) + 1)]
    parts.append("Verdict, by a fit without the crystal, against the true correlation\n"
                 + format_table(["true", *WORDS], rows))
    return "\n".join(parts)
