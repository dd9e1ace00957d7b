"""What decides how a simulated SAD experiment turns out."""

from __future__ import annotations

from dataclasses import dataclass

from ..sad.scatterer import Scatterer


@dataclass(frozen=True)
class SadSettings:
    """One simulated SAD experiment: crystal, measurement and the sites given to phasing.

    Parameters
    ----------
    scenario : "SeMet" (selenium replaces the sulphur of methionine), "native" (an element of the
        structure: sulphur, a metal) or "soak" (atoms placed on the protein's surface).
    scatterer : the anomalous scatterer.
    wavelength : Angstrom; decides the anomalous scattering of all other elements.
    d_min, d_max : resolution limits, Angstrom.
    occupancy : mean occupancy of replaced or soaked sites.
    n_soaked : number of soaked sites in the asymmetric unit.
    b_added : added to all B factors, Angstrom^2.
    anisotropy : size of the anisotropic B tensor of the crystal, Angstrom^2.
    k_sol, b_sol : density (e/Angstrom^3) and B factor (Angstrom^2) of the bulk solvent.
    i_over_sigma : mean I/sigma in the outermost shell, each mate by itself.
    background : counts of background in units of the mean intensity of the outermost shell.
    relative_error : error of an intensity independent of counting, in units of the intensity.
    outliers : fraction of intensities with an error five times larger.
    sigma_scale : reported over true standard uncertainty.
    completeness : fraction of mates measured.
    overloads : fraction of the strongest reflections below 6 Angstrom that is lost.
    site_shift : root mean square displacement of the given sites, Angstrom.
    missing_sites, spurious_sites : as fractions of the number of true sites.
    site_error : relative error of the occupancies and B factors of given sites.
    f_double_prime_error : f'' as given to phasing over the true one.
    friedel_correlation : correlation of the errors of Friedel mates, 0 to 1.
    minor_sites : weakly occupied atoms on the protein's surface that no site is given for, as a
        fraction of the number of true sites.
    radiation_damage : fraction of the anomalous scatterers that is gone when the second mate of a
        pair is measured.
    missing_cone, missing_wedge : degrees, see :func:`~.faults.out_of_reach`.
    ice_rings : width in 1/d, 1/Angstrom, of what each ring of ice makes useless.
    twin_fraction : of the smaller domain, 0 to 0.5, where the lattice allows twinning.
    """

    scenario: str
    scatterer: Scatterer
    wavelength: float
    d_min: float
    d_max: float
    occupancy: float
    n_soaked: int
    b_added: float
    anisotropy: float
    k_sol: float
    b_sol: float
    i_over_sigma: float
    background: float
    relative_error: float
    outliers: float
    sigma_scale: float
    completeness: float
    overloads: float
    site_shift: float
    missing_sites: float
    spurious_sites: float
    site_error: float
    f_double_prime_error: float = 1.0
    friedel_correlation: float = 0.0
    minor_sites: float = 0.0
    radiation_damage: float = 0.0
    missing_cone: float = 0.0
    missing_wedge: float = 0.0
    ice_rings: float = 0.0
    twin_fraction: float = 0.0
