"""Settings of a simulated experiment without any error."""

from crank2_unet.sad.scatterer import Scatterer
from crank2_unet.simulation.settings import SadSettings

PERFECT = SadSettings(
    scenario="SeMet", scatterer=Scatterer("Se", -7.0, 5.0), wavelength=0.979, d_min=2.5,
    d_max=100.0, occupancy=1.0, n_soaked=0, b_added=0.0, anisotropy=0.0, k_sol=0.0, b_sol=46.0,
    i_over_sigma=1e6, background=1.0, relative_error=0.0, outliers=0.0, sigma_scale=1.0,
    completeness=1.0, overloads=0.0, site_shift=0.0, missing_sites=0.0, spurious_sites=0.0,
    site_error=0.0)
