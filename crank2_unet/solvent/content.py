"""Solvent content from the Matthews coefficient, from the U-net's map and from both.

The U-net gives each point of the map a logit of being solvent; the solvent content is the share of
the asymmetric unit above a cutoff: Skubák (2024) Acta Cryst. D80, 528-534, equation (1).  Which cutoff
reproduces the true content varies from crystal to crystal; its distribution over the training
crystals belongs to the network and stands in its model card.

Where the composition is known, too, the solvent content is the mean of its posterior distribution
(:func:`estimate_solvent`).  Equation (2) of the paper, which Crank2 goes by on its own, chooses by
thresholds between one copy number, the network and a product that is linear between copy numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.interpolate import make_interp_spline

from ..errors import InputError, ModelError
from .matthews import MatthewsOption

SOLVENT = np.linspace(0.0, 1.0, 101)  # solvent contents at which distributions are sampled
_EDGES = np.concatenate([[0.0], (SOLVENT[1:] + SOLVENT[:-1]) / 2, [1.0]])
# standard deviation of the mass that takes no part in the solvent over that of the sequence: tags,
# disordered ends, ligands
_MASS_ERROR = 0.08
# prior probability that the composition has little to do with the crystal: a domain cut off, half of
# a complex.  0.1 is as good where it is right, worse where it is wrong by 30 % (383 crystals).
_DOUBT = 0.2


@dataclass(frozen=True)
class CutoffDistribution:
    """Distribution of the logit cutoff that reproduces the true solvent content.

    Parameters
    ----------
    cutoffs : (k,) ascending logits.
    density : (k,) probability density, linear in between, zero outside.
    """

    cutoffs: np.ndarray
    density: np.ndarray

    @classmethod
    def from_samples(cls, samples: np.ndarray) -> CutoffDistribution:
        """Gaussian kernel density (Scott's width) of the cutoffs (n,) of n >= 2 crystals."""
        from scipy.stats import gaussian_kde  # slow to load, and of use in calibration only

        kernel = gaussian_kde(samples)
        margin = 3.0 * np.sqrt(kernel.covariance[0, 0])  # 3 kernel widths hold 99.7 % of the ends
        cutoffs = np.linspace(np.min(samples) - margin, np.max(samples) + margin, 201)
        return cls(cutoffs, kernel(cutoffs))

    @classmethod
    def from_json(cls, values: dict) -> CutoffDistribution:
        """From the model card's entry.

        Raises
        ------
        ModelError : the entry does not hold a distribution.
        """
        try:
            cutoffs, density = (np.array(values[name], float) for name in ("cutoffs", "density"))
            valid = (len(cutoffs) == len(density) >= 2 and np.all(np.diff(cutoffs) > 0)
                     and np.all(density >= 0) and 0 < density.max() < np.inf)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError("The model card's cutoff distribution cannot be read "
                             f"({error!r}). Install the model again.") from error
        if not valid:
            raise ModelError("The model card's cutoff distribution needs ascending cutoffs with "
                             "one density each, none negative. Install the model again.")
        return cls(cutoffs, density)

    def to_json(self) -> dict:
        """Entry for the model card."""
        return {"cutoffs": [round(float(x), 4) for x in self.cutoffs],
                "density": [float(f"{x:.4g}") for x in self.density]}

    def likelihood(self, cutoff: float | np.ndarray) -> np.ndarray:
        """Density relative to its maximum, 0..1."""
        return np.interp(cutoff, self.cutoffs, self.density / self.density.max(), left=0, right=0)

    def likelihood_of_difference(self, difference: float | None) -> float:
        """Likelihood, 0..1, of a cutoff so far from the most probable one, the side being unknown.

        The form in which Crank2 asks; None, a cutoff that does not exist, has 0.
        """
        if difference is None:
            return 0.0
        mode = self.cutoffs[np.argmax(self.density)]
        return float(np.mean(self.likelihood(np.array([mode - difference, mode + difference]))))

    def cumulative(self, cutoff: float | np.ndarray) -> np.ndarray:
        """Probability that the cutoff is below the given one, 0..1."""
        integral = make_interp_spline(self.cutoffs, self.density, k=1).antiderivative()
        inside = np.clip(cutoff, self.cutoffs[0], self.cutoffs[-1])
        return integral(inside) / integral(self.cutoffs[-1])


def cutoff_for(logits: np.ndarray, solvent: float | np.ndarray) -> np.ndarray:
    """Logit cutoff that leaves a solvent content (0..1) above it.

    That share of the points of the asymmetric unit (n,) lies above it, but on plateaus, where many
    points share one logit and every solvent content within the step has that logit as its cutoff.
    """
    return np.quantile(logits, 1.0 - np.asarray(solvent))


@dataclass(frozen=True)
class UnetSolvent:
    """What the network says of the solvent content of one crystal.

    Parameters
    ----------
    expected : solvent content by equation (1).
    cutoff : (101,) logit cutoff that gives each of ``SOLVENT``.
    likelihood : (101,) density of that cutoff relative to the best cutoff, 0..1.
    probability : (101,) probability of each of ``SOLVENT``, sum 1.
    """

    expected: float
    cutoff: np.ndarray
    likelihood: np.ndarray
    probability: np.ndarray

    @classmethod
    def from_logits(cls, logits: np.ndarray, cutoffs: CutoffDistribution) -> UnetSolvent:
        """From the solvent logits (n,) of the points of one asymmetric unit.

        Equation (1), the mean of solvent(cutoff) over the distribution of cutoffs, equals the mean
        over points of the probability that the cutoff is below the point's logit.
        """
        cutoff = cutoff_for(logits, SOLVENT)
        below = cutoffs.cumulative(cutoff_for(logits, _EDGES))
        below[[0, -1]] = 1.0, 0.0  # cutoffs beyond the range of the map leave none or all solvent
        return cls(float(np.mean(cutoffs.cumulative(logits))), cutoff,
                   cutoffs.likelihood(cutoff), below[:-1] - below[1:])

    @classmethod
    def from_json(cls, entry: dict, cutoffs: CutoffDistribution) -> UnetSolvent:
        """From the solvent entry of result.json (:meth:`SolventEstimate.to_json`)."""
        columns = entry["distributions"]
        cutoff = np.array(columns["cutoff"], float)
        return cls(float(entry["unet_expected"]), cutoff, cutoffs.likelihood(cutoff),
                   np.array(columns["unet"], float))

    def logit_from_solvent(self, solvent: float) -> float | None:
        """Cutoff that gives a solvent content; None unless it is strictly between 0 and 1."""
        return float(np.interp(solvent, SOLVENT, self.cutoff)) if 0 < solvent < 1 else None

    def likelihood_of(self, solvent: float | np.ndarray) -> np.ndarray:
        """P_U: how well the cutoff for a solvent content fits the training crystals, 0..1."""
        return np.interp(solvent, SOLVENT, self.likelihood)

    def expected_with(self, solvents: Sequence[float], probabilities: Sequence[float]) -> float:
        """Expectation under the product of this distribution with that of Matthews options, which
        need not be normalised; without the latter where the two exclude each other.

        The form in which Crank2 asks.
        """
        product = self.probability * interpolate_options(solvents, probabilities)
        return float(SOLVENT @ product / product.sum()) if product.sum() > 0 else self.expected


def interpolate_options(solvents: Sequence[float], probabilities: Sequence[float]) -> np.ndarray:
    """Matthews distribution over ``SOLVENT`` (101,), sum 1.

    Linear between the options, which lie at equal distances, and down to zero at 0 and 1.
    """
    at, height = zip(*sorted([(0.0, 0.0), *zip(solvents, probabilities), (1.0, 0.0)]))
    curve = np.interp(SOLVENT, at, height)
    return curve / curve.sum()


@dataclass(frozen=True)
class JudgedOption(MatthewsOption):
    """A Matthews option with the network's judgement.

    Parameters
    ----------
    unet : P_U of the option's solvent content, 0..1.
    joint : posterior probability of this number of copies.  What the options lack from 1 is that of a
        composition which is not the crystal's.
    """

    unet: float
    joint: float


@dataclass(frozen=True)
class SolventEstimate:
    """The solvent content decided on, and why.

    Parameters
    ----------
    value : solvent content, 0..1.
    rule : where it is from: "user", "joint" (composition and network) or "unet" (network alone).
    cutoff : logit cutoff that gives ``value``.  Cut by rank to get it exactly where logits tie.
    unet : the network's view.
    options : Matthews options, most copies last; empty if the composition is unknown.
    matthews, joint : (101,) distributions over ``SOLVENT`` by the composition and by composition and
        network together; None where undefined.
    """

    value: float
    rule: str
    cutoff: float
    unet: UnetSolvent
    options: tuple[JudgedOption, ...] = ()
    matthews: np.ndarray | None = None
    joint: np.ndarray | None = None

    def to_json(self) -> dict:
        """The solvent entry of result.json; distributions sum to 1, absent ones are null."""
        columns = {"solvent": SOLVENT, "cutoff": self.unet.cutoff, "matthews": self.matthews,
                   "unet": self.unet.probability, "joint": self.joint}
        return {"value": self.value, "rule": self.rule, "cutoff": self.cutoff,
                "unet_expected": self.unet.expected,
                "matthews": [asdict(option) for option in self.options],
                "distributions": {name: None if column is None else np.round(column, 6).tolist()
                                  for name, column in columns.items()}}


def estimate_solvent(logits: np.ndarray, cutoffs: CutoffDistribution,
                     options: Sequence[MatthewsOption] = (),
                     given: float | None = None) -> SolventEstimate:
    """Solvent content of a crystal.

    With a composition it is the mean of the posterior distribution

        P(s) ~ (1 - d) L(s) sum_k P_k N(s; s_k, t (1 - s_k)) + d <L> U(s)

    where P_k is the Matthews probability of k copies, which leave the solvent s_k, N a normal
    distribution as wide as masses are uncertain, L(s) the density of the cutoff that gives s, relative
    to the best one, and <L> its mean over s.  The second term, with the network's own distribution U,
    is for a composition that is not the crystal's.  Without a composition it is the network's
    expectation, equation (1).

    Parameters
    ----------
    logits : (n,) solvent logits of the points of one asymmetric unit.
    cutoffs : the network's distribution of cutoffs.
    options : from :func:`crank2_unet.solvent.matthews.matthews_options`; none: the U-net alone decides.
    given : the user's solvent content, which overrules everything.

    Raises
    ------
    InputError : ``given`` is not between 0 and 1.
    """
    if given is not None and not 0 < given < 1:
        raise InputError(f"The solvent content is given as {given}. Give a fraction of the volume "
                         "between 0 and 1, for instance 0.5.")
    unet = UnetSolvent.from_logits(logits, cutoffs)
    matthews, joint, judged = _weigh(options, unet) if options else (None, None, ())
    if given is not None:
        value, rule = given, "user"
    elif joint is not None:
        value, rule = float(SOLVENT @ joint), "joint"
    else:
        value, rule = unet.expected, "unet"
    return SolventEstimate(value, rule, float(cutoff_for(logits, value)), unet, judged, matthews, joint)


def _weigh(options: Sequence[MatthewsOption], unet: UnetSolvent,
           ) -> tuple[np.ndarray, np.ndarray | None, tuple[JudgedOption, ...]]:
    """Distributions of the solvent content by Matthews and posterior, and the options judged.

    The posterior is None where the network excludes every solvent content that the map allows.
    """
    solvent, prior = (np.array([getattr(option, name) for option in options])[:, None]
                      for name in ("solvent", "probability"))
    curves = np.exp(-0.5 * ((SOLVENT - solvent) / (_MASS_ERROR * (1 - solvent))) ** 2)
    curves *= prior / curves.sum(axis=1, keepdims=True)
    copies = (1 - _DOUBT) * curves * unet.likelihood
    alone = _DOUBT * unet.likelihood.mean() * unet.probability
    evidence = copies.sum() + alone.sum()
    joint = (copies.sum(axis=0) + alone) / evidence if evidence > 0 else None
    shares = copies.sum(axis=1) / evidence if evidence > 0 else np.zeros(len(options))
    judged = tuple(JudgedOption(**asdict(option), unet=float(unet.likelihood_of(option.solvent)),
                                joint=float(share)) for option, share in zip(options, shares))
    return curves.sum(axis=0), joint, judged
