"""Friedel mates as mean amplitudes and anomalous differences."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ..crystal.observations import AnomalousData
from ..crystal.reflections import Reflections
from ..errors import InputError

_PER_BIN = 600  # reflections: enough to fix a variance to 6 %
_OUTLIER = 6.0  # rms of DANO in the bin; a Gaussian never gets there

_SCORING_STEPS = 8  # Fisher scoring converges in three or four


@dataclass(frozen=True)
class Observed:
    """The measured reflections, as rows, with what the likelihood needs of them.

    Amplitudes and differences are those of a crystal that diffracts alike in all directions.
    """

    place: np.ndarray  # of the rows in the complete list
    hkl: np.ndarray
    inverse_d_squared: np.ndarray
    epsilon: np.ndarray
    centric: np.ndarray
    bins: np.ndarray
    f: np.ndarray
    sigf: np.ndarray
    dano: np.ndarray  # 0 where there is no usable difference
    sig_dano: np.ndarray
    paired: np.ndarray  # bool: there is a usable difference

    @classmethod
    def of(cls, data: AnomalousData) -> Observed:
        """Mean amplitudes and differences, without differences too large to be true.

        Read (1999), Acta Cryst. D55, 1759-1764: an observation too improbable under the expected
        distribution is more likely an error of measurement.
        """
        r = data.reflections
        f, sigf = mean_amplitude(data)
        measured = (f > 0) & (sigf > 0)
        even = 1 / _fall_off(r, f, measured)
        f, sigf = f * even, sigf * even
        dano = (data.f_plus - data.f_minus) * even
        sig_dano = np.hypot(data.sigf_plus, data.sigf_minus) * even
        paired = measured & np.isfinite(dano) & (sig_dano > 0) & ~r.centric
        if paired.sum() < 100:
            raise InputError(f"Only {paired.sum()} acentric reflections have both Friedel mates: "
                             "SAD phasing needs F(+) and F(-) of some hundred at least.")
        bins = r.in_bins(int(np.clip(paired.sum() // _PER_BIN, 1, 20)), paired)
        mean_square = bin_means(dano[paired] ** 2 / r.epsilon[paired], bins[paired])
        paired &= ~(dano ** 2 > _OUTLIER ** 2 * mean_square[bins] * r.epsilon)
        return cls(np.arange(len(r)), r.hkl, r.inverse_d_squared, r.epsilon, r.centric, bins, f,
                   sigf, np.where(paired, dano, 0.0), np.where(paired, sig_dano, 1.0),
                   paired).select(measured)

    def select(self, chosen: np.ndarray) -> Observed:
        """Only the chosen rows (bool)."""
        return Observed(*(getattr(self, field.name)[chosen] for field in fields(self)))


def mean_amplitude(data: AnomalousData) -> tuple[np.ndarray, np.ndarray]:
    """Mean amplitude of the mates and its uncertainty, (n,); where one is absent, the other."""
    mates = np.stack([data.f_plus, data.f_minus])
    variances = np.stack([data.sigf_plus, data.sigf_minus]) ** 2
    here = np.isfinite(mates) & np.isfinite(variances)
    count = np.where(here.any(axis=0), here.sum(axis=0), np.nan)
    return (np.where(here, mates, 0.0).sum(axis=0) / count,
            np.sqrt(np.where(here, variances, 0.0).sum(axis=0)) / count)


def _fall_off(reflections: Reflections, f: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """How much weaker each amplitude is for its direction than the mean of its resolution, (n,).

    exp(-s U s) with the U that the lattice allows and that is most likely under Wilson's
    distribution (Popov & Bourenkov, 2003, Acta Cryst. D59, 1145-1153); a measured amplitude of zero
    counts, unlike in a fit of logarithms.
    """
    to_reciprocal = np.array(reflections.cell.frac.mat.tolist())
    products = np.zeros((len(reflections), 6))
    operations = reflections.spacegroup.operations().sym_ops
    for op in operations:
        s = reflections.hkl @ (np.array(op.rot) / op.DEN) @ to_reciprocal
        products += np.stack([s[:, i] * s[:, j] for i, j in zip(*np.triu_indices(3))], axis=1)
    products /= len(operations) * reflections.inverse_d_squared.max()
    bins = reflections.in_bins(int(np.clip(measured.sum() // _PER_BIN, 1, 20)), measured)[measured]
    design = products[measured]
    design = design - np.stack([bin_means(column, bins) for column in design.T], axis=1)[bins]
    square, slopes = f[measured] ** 2 / reflections.epsilon[measured], np.zeros(6)
    for _ in range(_SCORING_STEPS):
        ratio = square * np.exp(design @ slopes)
        ratio = ratio / bin_means(ratio, bins)[bins] - 1
        slopes = slopes - np.linalg.lstsq(design, ratio, rcond=1e-6)[0]
    isotropic = slopes[[0, 3, 5]].mean() * np.array([1, 0, 0, 1, 0, 1])
    return np.exp(-products @ (slopes - isotropic) / 2)


def bin_means(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Mean of the values in each bin, (number of bins,)."""
    return np.bincount(bins, values) / np.maximum(np.bincount(bins), 1)
