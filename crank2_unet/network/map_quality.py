"""How good a map is, and which of two hands is right, from what the network makes of it.

A good map falls into flat and varied regions that the network tells apart with confidence, and its
density is skewed towards high values; a poor one, or one of the wrong hand, does less so.  A few
numbers that say how much are turned into the correlation with the true map and the probability of a
hand by linear functions, fitted to simulated data and stored in the model card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gemmi
import numpy as np
import scipy.fft
from scipy.special import expit

from ..crystal.filters import local_deviation
from ..crystal.grids import asymmetric_unit, resample
from ..crystal.maps import skew
from ..errors import ModelError
from .inputs import normalise

_CLIP = 4.0  # units of features.normalise: the anomalous scatterers must not decide
# likeness above which two maps are the same: different ones reached 0.79 in 213 simulated crystals
SAME_MAP = 0.85
_RADIUS = 4.0  # Angstrom, of the local deviation
# expected correlation above which a map has solvent structure whatever the discriminant says, which
# is fitted to maps as phased: it finds none in some good ones after density modification.  Of 64
# crystals, no map with random phases is given more than 0.33 and none of the wrong hand more than 0.46.
_CLEAR = 0.5
# discriminant above which a map has structure.  Of 104 maps with random phases or shuffled rows (of
# 15 measured and 30 simulated crystals) 3 are above, where 20 are above 0; of the maps as phased, 1 of
# the 15 measured ones is below (without correlation with its model) and 11 of the simulated ones, all
# of which have a correlation below 0.3 with the true map.
_STRUCTURE = 1.0


def map_features(density: gemmi.FloatGrid, logits: gemmi.FloatGrid) -> dict[str, float]:
    """What the quality of a map shows in.

    Parameters
    ----------
    density : the map, on any scale.
    logits : of P(solvent), on its grid.

    Returns
    -------
    logit_spread : standard deviation of the logits.
    region_contrast : logarithm of the ratio of variances in protein and in solvent.
    region_step : difference of the mean densities of protein and solvent.
    agreement : correlation of the logits with low local deviation, -1..1.
    contrast : standard deviation over mean of the local deviation: the classical measure.
    skewness : of the density: the other classical measure.
    """
    rho = normalise(density, _CLIP)
    unit = asymmetric_unit(rho)
    deviation = local_deviation(rho, _RADIUS).array[unit]  # first: it needs the most memory
    logit, values = (grid.array[unit].astype(float) for grid in (logits, rho))
    p = expit(logit)
    solvent_mean, solvent_variance = _moments(values, p)
    protein_mean, protein_variance = _moments(values, 1 - p)
    return {name: float(value) for name, value in {
        "logit_spread": logit.std(),
        "region_contrast": np.log(protein_variance / solvent_variance),
        "region_step": protein_mean - solvent_mean,
        "agreement": -np.corrcoef(logit, deviation)[0, 1],
        "contrast": deviation.std() / deviation.mean(),
        "skewness": skew(values)}.items()}


def skewness(density: gemmi.FloatGrid) -> float:
    """The skewness of :func:`map_features`, for which no network is needed."""
    rho = normalise(density, _CLIP)
    return skew(rho.array[asymmetric_unit(rho)])


def likeness(first: gemmi.FloatGrid, other: gemmi.FloatGrid) -> float:
    """Largest correlation of two maps of one crystal over all shifts of the origin, at most 1.

    Where the anomalous scatterers are centrosymmetric, as one in P 21 or two in P 1 always are, both
    "hands" of them give the same map with another origin, and neither is wrong.
    """
    a, b = (normalise(grid, _CLIP).array for grid in (first, resample(other, first)))
    a, b = (scipy.fft.rfftn((x - x.mean()) / x.std()) for x in (a, b))
    return float(scipy.fft.irfftn(a * b.conj(), s=first.shape).max() / first.array.size)


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and variance, which is not 0."""
    weights = weights / weights.sum()
    mean = weights @ values
    return mean, max(weights @ (values - mean) ** 2, 1e-12)


@dataclass(frozen=True)
class MapQuality:
    """What is thought of a map.

    Parameters
    ----------
    correlation : expected correlation with the true map, 0..1, if the hand is right and density
        has not been modified, which makes maps look better than they are.
    uncertainty : its standard deviation.
    solvent_structure : whether the map looks like protein in solvent at all.
    features : of :func:`map_features`.
    """

    correlation: float
    uncertainty: float
    solvent_structure: bool
    features: dict[str, float]


@dataclass(frozen=True)
class Linear:
    """A linear function of features: ``intercept`` + sum of weight * feature."""

    intercept: float
    weights: dict[str, float]

    def __call__(self, features: Mapping[str, float]) -> float:
        return self.intercept + sum(w * features[name] for name, w in self.weights.items())


@dataclass(frozen=True)
class QualityModel:
    """From features to judgements; belongs to one network and stands in its card.

    Parameters
    ----------
    correlation : gives the expected correlation of a map of the right hand with the true map.
    uncertainty : standard deviation of its error.
    hand : gives, for the difference of the features of two hands, the logit of the probability
        that the first is right; without an intercept, so that their order does not matter.  The
        features are those of :func:`~crank2_unet.pipeline.features_of_hand`.
    structure : above 1 for maps with a protein-like solvent structure.
    """

    correlation: Linear
    uncertainty: float
    hand: Linear
    structure: Linear

    @classmethod
    def from_json(cls, values: dict) -> QualityModel:
        """From the model card's entry.

        Raises
        ------
        ModelError : the entry cannot be read.
        """
        try:
            return cls(Linear(**values["correlation"]), float(values["uncertainty"]),
                       Linear(**values["hand"]), Linear(**values["structure"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"The model card's entry for map quality cannot be read ({error!r}). "
                             "Install the model again.") from error

    def judge(self, features: dict[str, float]) -> MapQuality:
        """Quality of a map with these features."""
        expected = float(np.clip(self.correlation(features), 0.0, 1.0))
        structured = self.structure(features) > _STRUCTURE or expected > _CLEAR
        return MapQuality(expected, self.uncertainty, structured, features)

    def probability_of_hand(self, first: Mapping[str, float], other: Mapping[str, float]) -> float:
        """Probability that the map with the ``first`` features is the one of the right hand.

        Raises
        ------
        ModelError : the card goes by features of another version.
        """
        unknown = sorted(self.hand.weights.keys() - first.keys())
        if unknown:
            raise ModelError(f"The model card judges hands by {', '.join(unknown)}, which this version "
                             "does not use. Run 'crank2-unet model quality' with it.")
        return float(expit(self.hand({name: first[name] - other[name] for name in first})))
