"""Experimental phases from single-wavelength anomalous diffraction (SAD) with known sites.

Notation: F is the structure factor without the f'' part, H the scattering f0 + f' of the sites and
H" that of their f'' (a sum over the sites without the factor i), so that F(+) = F + iH" and
conj(F(-)) = F - iH".  With phi the phase of F, |F| about equal to (|F(+)| + |F(-)|)/2, and
DANO = |F(+)| - |F(-)|,

    DANO = 2 |H"| sin(phi - phase of H")        to first order in |H"|/|F|

The errors of F - H (all that is not a site) and of DANO (measurement, errors of the sites) are
taken as Gaussian with variances T and V.  Then an acentric reflection has

    P(phi) ~ exp[-|F - H|^2/T - (DANO - 2 |H"| sin(phi - phase of H"))^2/2V]

whose Hendrickson-Lattman form is exact: A + iB = 2|F|H/T + 2i DANO H"/V and C + iD = (H")^2/V.
The first part is the distribution of Sim (1959), Acta Cryst. 12, 813-815; the second is the form of
the SAD function of McCoy, Storoni & Read (2004), Acta Cryst. D60, 1220-1228, for small anomalous
scattering.  T follows from the mean of F^2; scales, V and sites are those of maximal likelihood of
DANO given F, in which the unknown phase is integrated out.

The data fix H", the product of f'' and occupancies, but hardly H: its likelihood is decided by what
the Gaussians leave out (on eight real sets it made the sites scatter 1/4 to 4 times what they can, and
the first part of P far too sure or too vague).  So H follows from H" and what is known beforehand: the
absolute scale of the data by Wilson statistics and the composition, the occupancies that the element
can have, none above 1, and f'' with its uncertainty, large near an edge.

F is not H on average, but what sites and all that usually surrounds them scatter: at 6 to 12 Angstrom
the solvent that a residue displaces is more than the sulphur in it.  H is meant with its surroundings
(:meth:`~.scatterer.Scatterer.with_surroundings`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Callable

import gemmi
import numpy as np

from ..crystal.grids import density_map
from ..crystal.maps import skew
from ..crystal.observations import AnomalousData
from ..crystal.phases import phi_fom_from_hl, to_complex
from ..crystal.reflections import Reflections, enantiomorph
from ..crystal.sites import model_of_sites
from ..errors import InputError
from ..solvent.matthews import Composition
from .completion import Changes, merged
from .completion import complete as complete_sites
from .friedel import Observed, bin_means, mean_amplitude
from .gradient import describe, threshold
from .likelihood import Model, Values, hl_terms
from .scatterer import Scatterer


@dataclass(frozen=True)
class SadResult:
    """Phases from SAD.

    Parameters
    ----------
    f, sigf : (n,) mean amplitude of the mates, on the scale of the data; NaN = unmeasured.
    hl : (n, 4) Hendrickson-Lattman coefficients; 0 = no phase information.
    phi, fom : (n,) best phase in degrees and its figure of merit.
    sites : refined sites; the largest occupancy is 1.
    statistics : JSON-serialisable; see :func:`phase_sad`.
    """

    f: np.ndarray
    sigf: np.ndarray
    hl: np.ndarray
    phi: np.ndarray
    fom: np.ndarray
    sites: gemmi.Structure
    statistics: dict

    @property
    def coefficients(self) -> np.ndarray:
        """Coefficients (n,) complex of the m|F| map; 0 where unmeasured."""
        return to_complex(np.where(np.isfinite(self.f), self.fom * self.f, 0.0), self.phi)


def phase_sad(data: AnomalousData, sites: gemmi.Structure, scatterer: Scatterer,
              cycles: int = 5, progress: Callable[[int, int], None] | None = None,
              complete: bool = True, phases: np.ndarray | None = None,
              composition: Composition | None = None) -> SadResult:
    """Phase anomalous data with known sites of the anomalous scatterer.

    Parameters
    ----------
    data : amplitudes of Friedel mates, on any scale.
    sites : every atom of the first model is taken as a site of ``scatterer``.  Occupancies may be
        on any scale, B factors (isotropic, Angstrom^2) need be right only relative to each other.
    scatterer : element, f' and f''.
    cycles : of the refinement of occupancies, B factors and positions of the sites.  0 keeps the
        sites and fits only scales and errors.
    progress : called with (cycles done, cycles) after each cycle.
    complete : see :mod:`crank2_unet.sad.completion`; else the sites stay those that are given.
    phases : (n, 4) Hendrickson-Lattman coefficients of improved phases, such as those of a modified map
        (alone: combined with the experiment's, they confirm false sites where phases are poor).  They
        serve to find and refine the sites only: the phases that are returned are computed anew from
        the data, so that they can be improved again without counting anything twice.
    composition : of one copy of the molecule, for the absolute scale; None: that of the mean crystal.

    Returns
    -------
    Phases and ``statistics``: n_sites, n_pairs (acentric differences used), fom (mean over the
    measured reflections), phasing_power (rms ratio of calculated difference and its error V^1/2),
    f_double_prime (fitted), sigma_scale (factor of the uncertainties of DANO), map_skewness (of the
    m|F| map; clearly larger in the right hand), absolute (what the scale rests on: wilson_b in
    Angstrom^2; scale_uncertainty, of the logarithm of the scale; occupancy, root mean square on the
    absolute scale; share of the sites, with what surrounds them, in the mean of F^2;
    f_double_prime_given and its relative uncertainty), f_double_prime_comment, sites
    (:func:`~.completion.describe`), completion (:class:`~.completion.Changes`, the threshold, and
    whether phases were given; None without completion) and bins (d_max, d_min, n, fom, rms_dano,
    rms_calculated, rms_error, phasing_power).

    Raises
    ------
    InputError : no sites, an unknown element, no f'', or hardly any anomalous differences.
    """
    if not scatterer.f_double_prime > 0:
        raise InputError(f"f'' of {scatterer.element} is {scatterer.f_double_prime:g}: SAD phasing "
                         "needs a positive f''; check the element and the wavelength.")
    if not len(sites) or not any(site.atom.occ > 0 for site in sites[0].all()):
        raise InputError("The sites hold no atom of positive occupancy: give the coordinates of "
                         "the anomalous scatterers.")
    observed = Observed.of(data)

    def model_of(obs: Observed, prior: np.ndarray | None = None) -> Model:
        return Model(obs, data.reflections, scatterer, None if prior is None else prior[obs.place],
                     composition)

    paired = observed.select(observed.paired)
    model, changes = model_of(paired, phases), Changes()
    values = model.start(sites)
    if complete:
        values = merged(model, values, changes)
    values = model.fit(values, sites_too=False)
    for cycle in range(cycles):
        values = model.fit(values, sites_too=True)
        if progress:
            progress(cycle + 1, cycles)
    if complete:
        values = complete_sites(model, values, changes)
    if phases is not None:  # known to the sites from now on only
        model = model_of(paired)
        values = model.fit(model.fit(values, sites_too=False), sites_too=True)
    result = _result(data, sites, model_of(observed), values)
    result.statistics.update(
        sites=describe(model, values),
        completion={**asdict(changes), "threshold": threshold(model), "phases": phases is not None}
        if complete else None)
    return result


def _result(data: AnomalousData, sites: gemmi.Structure, model: Model, values: Values) -> SadResult:
    """Phases under fitted parameters."""
    obs = model.obs
    base = model.partials(values) @ values["occupancy"]
    h, h2 = (factor * base for factor in model.factors(values))
    t, measured, extra = model.variances(values)
    error = measured + extra
    ab, cd = hl_terms(obs, h, h2, t, np.where(obs.paired, 1 / error, 0.0))
    hl = np.zeros((len(data.reflections), 4))
    hl[obs.place] = np.stack([ab.real, ab.imag, cd.real, cd.imag], axis=1)
    phi, fom = phi_fom_from_hl(hl, data.reflections.allowed_phase)
    f, sigf = mean_amplitude(data)
    statistics = {**_statistics(model, values, fom[obs.place], h2, error),
                  "absolute": _absolute(model, values, h),
                  "map_skewness": _map_skewness(data.reflections, to_complex(f * fom, phi))}
    return SadResult(f, sigf, hl, phi, fom, _with_values(sites, values), statistics)


def _statistics(model: Model, values: Values, fom: np.ndarray, h2: np.ndarray,
                error: np.ndarray) -> dict:
    """Quality of the phases by resolution and overall."""
    obs, pair = model.obs, model.obs.paired

    def rms(square: np.ndarray) -> list[float]:
        return np.sqrt(bin_means(square[pair], obs.bins[pair])).tolist()

    d = 1.0 / np.sqrt(obs.inverse_d_squared)
    edges = [d[obs.bins == i] for i in range(obs.bins.max() + 1)]
    columns = {"d_max": [float(e.max()) for e in edges], "d_min": [float(e.min()) for e in edges],
               "n": np.bincount(obs.bins).tolist(), "fom": bin_means(fom, obs.bins).tolist(),
               "rms_dano": rms(obs.dano ** 2), "rms_calculated": rms(2 * np.abs(h2) ** 2),
               "rms_error": rms(error)}
    bins = [dict(zip(columns, row)) for row in zip(*columns.values())]
    for row in bins:
        row["phasing_power"] = row["rms_calculated"] / row["rms_error"]
    return {
        "n_sites": len(values["occupancy"]), "n_pairs": int(pair.sum()), "fom": float(fom.mean()),
        "phasing_power": float(np.sqrt((2 * np.abs(h2[pair]) ** 2 / error[pair]).mean())),
        "f_double_prime": float(model.f_double_prime * np.exp(values["log_ratio"][0])),
        "f_double_prime_comment": model.restraints.comment(values),
        "sigma_scale": float(np.exp(values["log_sigma"][0])),
        "bins": bins}


def _absolute(model: Model, values: Values, h: np.ndarray) -> dict:
    """The absolute scale and what it rests on."""
    obs, known = model.obs, model.restraints
    return {"wilson_b": known.scale.b, "scale_uncertainty": known.scale.width,
            "occupancy": known.occupancy(values),
            "share": float(np.mean(np.abs(h) ** 2 / obs.epsilon)
                           / np.mean(obs.f ** 2 / obs.epsilon)),
            "f_double_prime_given": known.scatterer.f_double_prime,
            "f_double_prime_uncertainty": known.scatterer.uncertainty}


def _map_skewness(reflections: Reflections, coefficients: np.ndarray) -> float:
    """Skewness of the density, clipped at 4 rms so that the sites themselves do not decide it.

    Positive where atoms stand out, near 0 for noise (Terwilliger et al., 2009, Acta Cryst. D65,
    582-601): the hand with the clearly larger value is the right one.
    """
    density = density_map(reflections, np.nan_to_num(coefficients), reflections.d_min / 2.5).array
    limit = 4 * density.std()
    return skew(np.clip(density, -limit, limit))


def _with_values(sites: gemmi.Structure, values: Values) -> gemmi.Structure:
    """The sites with refined occupancies (largest 1), B factors and positions, and new ones."""
    given = [site.atom for site in sites[0].all()]
    out, atoms = sites.clone(), []
    occupancy = values["occupancy"] / values["occupancy"].max()
    for number, q, b, x in zip(values["given"], occupancy, values["b_iso"], values["xyz"]):
        atom = given[max(number, 0)].clone()
        atom.occ, atom.b_iso = float(q), float(b)
        atom.pos = out.cell.orthogonalize(gemmi.Fractional(*x))
        atoms.append(atom)
    del out[0]
    out.add_model(model_of_sites(atoms))
    return out


def other_hand(sites: gemmi.Structure, spacegroup: gemmi.SpaceGroup,
               ) -> tuple[gemmi.Structure, gemmi.SpaceGroup]:
    """The enantiomorph of the sites, and the space group it lives in.

    The data cannot tell the hands apart before phasing: run :func:`phase_sad` with both.  Where the
    space group changes (P41 to P43 and the like), the reflections must be given it too:
    ``Reflections(cell, other_spacegroup, d_min)``; their indices and amplitudes stay.
    In I41, I4122, F4132 and a few others the centre of inversion is not the origin.
    """
    change, other = spacegroup.change_of_hand_op(), enantiomorph(spacegroup)
    out = sites.clone()
    out.spacegroup_hm = other.xhm()
    for site in out[0].all():
        x = out.cell.fractionalize(site.atom.pos).tolist()
        site.atom.pos = out.cell.orthogonalize(gemmi.Fractional(*change.apply_to_xyz(x)))
    return out, other
