"""Hendrickson-Lattman coefficients and phases on the circle."""

import numpy as np
import pytest

from crank2_unet.crystal import phases


@pytest.mark.parametrize("kappa", [0.0, 0.3, 2.0, 30.0])
def test_hendrickson_lattman_of_one_peak(kappa):
    hl = np.array([[kappa * np.cos(1.0), kappa * np.sin(1.0), 0, 0]])
    phi, fom = phases.phi_fom_from_hl(hl, np.array([np.nan]))
    again = phases.hl_from_phi_fom(phi, fom, np.array([np.nan]))
    assert np.allclose(again, hl, atol=0.01 * max(kappa, 1))
    if kappa:
        assert phases.phase_difference(phi, np.rad2deg(1.0))[0] < 0.01


def test_bimodal_phase_lies_between_and_is_uncertain():
    hl = np.array([[0.0, 0.0, 20.0, 0.0], [1.0, 0.0, -20.0, 0.0]])  # peaks at 0, 180 and at +-90
    phi, fom = phases.phi_fom_from_hl(hl, np.full(2, np.nan))
    assert fom[0] < 1e-6 and fom[1] < 0.3 and phases.phase_difference(phi[1], 0.0) < 1e-6


def test_centric_phases_take_allowed_values():
    hl = np.array([[1.2, 0.7, 5.0, -3.0]])
    phi, fom = phases.phi_fom_from_hl(hl, np.array([90.0]))
    assert phi[0] == pytest.approx(90.0) and fom[0] == pytest.approx(np.tanh(0.7))
    assert phases.hl_from_phi_fom(phi, fom, np.array([90.0]))[0, 1] == pytest.approx(0.7)


def test_phase_difference_on_the_circle():
    assert np.allclose(phases.phase_difference([350, 10, 180], [10, 350, 0]), [20, 20, 180])
