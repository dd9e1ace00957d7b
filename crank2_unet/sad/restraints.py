"""What is known of sites, scales and errors before any fit, as Gaussian restraints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from .scatterer import Scatterer
from .wilson import AbsoluteScale

# Atoms of the molecule itself are all there but for damage and disorder, others are what they are:
# expected root mean square occupancy, and width of its logarithm.
_COVALENT = {"P", "S", "Se"}
_OCCUPANCY = {True: (0.9, 0.2), False: (0.5, 0.7)}
# probability that f'' is not what it is taken for (wavelength, edge, element), and the width of its
# logarithm then
_WRONG, _WRONG_WIDTH = 0.02, 1.0
_RATIOS = np.linspace(-4.0, 4.0, 401)  # logarithms of f'' over its given value that are weighed
_SIGMA_WIDTH = 0.3  # of the logarithm of the factor on uncertainties
_SHIFT_WIDTH = 0.2  # Angstrom, of the given positions along each axis
_B_WIDTH, _MEAN_B_WIDTH = 10.0, 30.0  # Angstrom^2, of sites against each other and against the data


@dataclass(frozen=True)
class Restraints:
    """Restraints on the parameters of a :class:`~crank2_unet.sad.likelihood.Model`.

    Parameters
    ----------
    scale : absolute scale and B factor of the data.
    scatterer : what the sites are.
    axes : lengths of the cell axes, Angstrom.
    """

    scale: AbsoluteScale
    scatterer: Scatterer
    axes: np.ndarray

    def occupancy(self, values: dict) -> float:
        """Occupancy of the sites on the absolute scale: root mean square, each site counted by what
        it scatters, so that minor ones do not matter."""
        square = values["occupancy"] ** 2
        rms = np.sqrt(np.sum(square ** 2) / max(np.sum(square), 1e-6))
        return float(rms * np.exp(values["log_scale"] - values["log_ratio"] - self.scale.log)[0])

    @property
    def _expected_occupancy(self) -> tuple[float, float]:
        """Occupancy, and the width of its logarithm, that of the scale in it."""
        expected, width = _OCCUPANCY[self.scatterer.element in _COVALENT]
        return expected, float(np.hypot(width, self.scale.width))

    def with_ratio(self, values: dict) -> dict:
        """The parameters with the f'' to expect for what the sites scatter.

        The data determine the product of f'' and the occupancies.  f'' is the mean of its
        distribution given that product; occupancies above 1 are as improbable as the scale is
        certain, and f'' may be wrong altogether.
        """
        product = np.log(max(self.occupancy({**values, "log_ratio": np.zeros(1)}), 1e-3))
        expected, width = self._expected_occupancy
        occupancy = product - _RATIOS
        known = self.scatterer.uncertainty
        probability = (_normal(occupancy - np.log(expected), width)
                       * ndtr(-occupancy / self.scale.width)
                       * ((1 - _WRONG) * _normal(_RATIOS, known)
                          + _WRONG * _normal(_RATIOS, _WRONG_WIDTH)))
        return {**values, "log_ratio": np.array([_RATIOS @ probability / probability.sum()])}

    def comment(self, values: dict) -> str:
        """What there is to say of the refined f'', in a sentence."""
        given, width = self.scatterer.f_double_prime, self.scatterer.uncertainty
        ratio = float(values["log_ratio"][0])
        source = f"{given:.2f} ± {100 * width:.0f} %" + (
            ", as the wavelength is near an absorption edge" if width > 0.2 else "")
        words = f"f″ = {given * np.exp(ratio):.2f} electrons, expected {source}"
        occupancy = self.occupancy(values)
        expected, usual = self._expected_occupancy
        if abs(np.log(max(occupancy, 1e-3) / expected)) < usual and abs(ratio) < 3 * width:
            return f"{words}: in agreement with sites of occupancy {occupancy:.2f}."
        return (f"{words}; with the latter the sites would be of occupancy "
                f"{occupancy * np.exp(ratio):.2f}, where {expected:.1f} is usual: check wavelength, "
                "element and sites.")

    def penalty(self, values: dict, gradient: dict) -> float:
        """Half the sum of the squared deviations in widths.

        Its pull is added to ``gradient``, that of the log-likelihood, for each parameter in it.
        """
        total = 0.0

        def restrain(off: np.ndarray, width: float | np.ndarray, **by: np.ndarray | float) -> None:
            """Add a deviation with its derivatives by the parameters."""
            nonlocal total
            total += float(np.sum((off / width) ** 2)) / 2
            for name, derivative in by.items():
                if name in gradient:
                    gradient[name] = gradient[name] - off / width ** 2 * derivative

        q = values["occupancy"]
        pull = 2 * q ** 3 / max(np.sum(q ** 4), 1e-6) - q / max(np.sum(q ** 2), 1e-6)
        expected, width = self._expected_occupancy
        restrain(np.log(np.maximum(self.occupancy(values), 1e-3) / expected), width,
                 log_scale=1.0, occupancy=pull)
        restrain(values["log_sigma"], _SIGMA_WIDTH, log_sigma=1.0)
        restrain(values["xyz"] - values["reference"], _SHIFT_WIDTH / self.axes, xyz=1.0)
        mean = values["b_iso"].mean()
        restrain(values["b_iso"] - mean, _B_WIDTH, b_iso=1.0)
        restrain(values["b"] + mean - self.scale.b, _MEAN_B_WIDTH, b=1.0,
                 b_iso=np.full(len(q), 1 / len(q)))
        return total


def _normal(off: np.ndarray, width: float) -> np.ndarray:
    """Normal density, but for its constant factor."""
    return np.exp(-0.5 * (off / width) ** 2) / width
