"""What is known of sites, scales and errors before any fit, as Gaussian restraints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .scatterer import Scatterer

# Atoms of the molecule itself are all there but for damage and disorder, others are what they are:
# expected root mean square occupancy, and width of its logarithm.
_COVALENT = {"P", "S", "Se"}
_OCCUPANCY = {True: (0.9, 0.2), False: (0.5, 0.7)}
_SCALE_WIDTH = 0.2  # of the logarithm of the absolute scale, mostly for unknown solvent contents
_SIGMA_WIDTH = 0.3  # of the logarithm of the factor on uncertainties
_SHIFT_WIDTH = 0.2  # Angstrom, of the given positions along each axis
_B_WIDTH, _MEAN_B_WIDTH = 10.0, 30.0  # Angstrom^2, of sites against each other and against the data


@dataclass(frozen=True)
class Restraints:
    """Restraints on the parameters of a :class:`~crank2_unet.sad.likelihood.Model`.

    Parameters
    ----------
    log_scale, b : absolute scale and B factor (Angstrom^2) of the data, see
        :func:`~crank2_unet.sad.wilson.wilson_scale`.
    scatterer : what the sites are.
    axes : lengths of the cell axes, Angstrom.
    """

    log_scale: float
    b: float
    scatterer: Scatterer
    axes: np.ndarray

    def occupancy(self, values: dict) -> float:
        """Occupancy of the sites on the absolute scale: root mean square, each site counted by what
        it scatters, so that minor ones do not matter."""
        square = values["occupancy"] ** 2
        rms = np.sqrt(np.sum(square ** 2) / max(np.sum(square), 1e-6))
        return float(rms * np.exp(values["log_scale"] - values["log_ratio"] - self.log_scale)[0])

    @property
    def _expected_occupancy(self) -> tuple[float, float]:
        """Occupancy, and the width of its logarithm, that of the scale in it."""
        expected, width = _OCCUPANCY[self.scatterer.element in _COVALENT]
        return expected, float(np.hypot(width, _SCALE_WIDTH))

    def with_ratio(self, values: dict) -> dict:
        """The parameters with the f'' that is most probable for what the sites scatter.

        The data determine the product of f'' and the occupancies.
        """
        expected, width = self._expected_occupancy
        product = np.log(max(self.occupancy({**values, "log_ratio": np.zeros(1)}), 1e-3) / expected)
        share = self.scatterer.uncertainty ** 2 / (self.scatterer.uncertainty ** 2 + width ** 2)
        return {**values, "log_ratio": np.array([share * product])}

    def comment(self, values: dict) -> str:
        """What there is to say of the refined f'', in a sentence."""
        given, width = self.scatterer.f_double_prime, self.scatterer.uncertainty
        ratio = float(values["log_ratio"][0])
        source = f"{given:.2f} +- {100 * width:.0f} %" + (
            ", as the wavelength is near an absorption edge" if width > 0.2 else "")
        words = f"f'' = {given * np.exp(ratio):.2f} electrons, expected {source}"
        off = np.log(max(self.occupancy(values), 1e-3) / self._expected_occupancy[0])
        if abs(off) < self._expected_occupancy[1]:
            return f"{words}: in agreement with sites of occupancy {self.occupancy(values):.2f}."
        return (f"{words}; with it the sites would be of occupancy {self.occupancy(values):.2f}, where "
                f"{self._expected_occupancy[0]:.1f} is usual: check wavelength, element and sites.")

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
        restrain(values["b"] + mean - self.b, _MEAN_B_WIDTH, b=1.0, b_iso=np.full(len(q), 1 / len(q)))
        return total
