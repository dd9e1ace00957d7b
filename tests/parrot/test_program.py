"""Where Parrot is, what it can do, what its log says, and masks for one that reads none."""

import numpy as np
import pytest
from blob import CELLS, blob
from standins.parrot import local_deviation_mask

from crank2_unet.crystal.filters import soften
from crank2_unet.crystal.grids import asymmetric_unit, density_map, like, structure_factors
from crank2_unet.crystal.masks import model_mask
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.errors import InputError, ProgramError
from crank2_unet.parrot.carrier import CARRIER_FILTER_RADIUS, carrier_coefficients
from crank2_unet.parrot.log import RunLog, log_tail, parrot_version
from crank2_unet.parrot.program import find_parrot, knows_mskin, parrot_places, parrot_usage

LOG = """<html> <!-- CCP4 HTML LOGFILE -->
 ### CCP4 8.0: cparrot                version 1.0.6 : 20/04/21##
ncs-operator \t1,2,3,4,5,6,7,8,9

WARNING: resolution of work structure truncated to reference:
 Ref: 1.6 Wrk: 1.5

-- Cycle: 1 --------------------------------

Suggested radius for solvent mask determination: 2.65903

Gamma 1.23484

-- Cycle: 2 --------------------------------

Suggested radius for solvent mask determination: 2.37842

Gamma 1.14239

$TABLE :Cycle 2 SigmaA statistics:
$GRAPHS :SigmaA statistics:N:1,2,3: $$
 1/resol^2  sigmaA(s)  sigmaA(w) $$
$$
    0.063      0.757      0.751
$$

Non-crystallographic operators:
 -ncs-operator 79.1,-12.5,3.2,10,20.5,30,1,2,3
 -ncs-operator -3.2,12.5,-79.1,1,2,3,10,20.5,30

$TABLE :Reflection statistics:
$GRAPHS :Reflection statistics:N:1,2,3,4: $$
 Cycle   FOM     Fcorrel(work)   Fcorrel(free)$$
$$
    0     0.334         0.752           0.000
    1     0.439         0.877           0.000
    2     0.529         0.907           0.000
$$

<B><FONT COLOR='#FF0000'><!--SUMMARY_BEGIN-->
cparrot: Normal termination
Times: User:       1.9s System:    0.1s Elapsed:     0:04
</pre>
"""


def test_log_is_understood():
    log = RunLog.parse(LOG)
    assert log.version == "1.0.6" and log.finished and log.cut_at == 1.6 and log.radius == 2.37842
    assert log.cycles == [{"fom": 0.439, "f_correlation": 0.877, "gamma": 1.23484},
                          {"fom": 0.529, "f_correlation": 0.907, "gamma": 1.14239}]
    assert log.operators == ["79.1,-12.5,3.2,10,20.5,30,1,2,3", "-3.2,12.5,-79.1,1,2,3,10,20.5,30"]


def test_log_that_breaks_off():
    log = RunLog.parse(LOG[:LOG.index("$TABLE :Cycle 2")])
    assert not log.finished and log.cycles == [] and log.operators == []
    assert RunLog.parse("") == RunLog("", [], None, [], None, False)


def test_end_of_a_log_is_for_people():
    assert log_tail(LOG, 2) == ("cparrot: Normal termination\n"
                                "Times: User:       1.9s System:    0.1s Elapsed:     0:04")


def test_parrot_is_looked_for_where_it_may_be(stand_in, tmp_path, monkeypatch):
    on_path, in_ccp4, named = (stand_in(folder=name) for name in ("path", "bin", "named"))
    nothing = str(tmp_path / "nothing")
    monkeypatch.setenv("PATH", nothing)
    assert find_parrot() is None
    assert parrot_places() == ["cparrot on PATH", "$CCP4/bin ($CCP4 is not set)"]
    monkeypatch.setenv("CCP4", str(tmp_path))
    assert find_parrot() == in_ccp4
    assert str(in_ccp4.parent) in parrot_places()[1]
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_parrot() == on_path
    monkeypatch.setenv("CRANK2_UNET_PARROT", str(named))
    assert find_parrot() == named
    assert find_parrot(str(in_ccp4)) == in_ccp4
    # another than the one that was asked for would be a surprise
    assert find_parrot(nothing) is None and parrot_places(nothing) == [nothing]
    monkeypatch.setenv("CRANK2_UNET_PARROT", nothing)
    assert find_parrot() is None and nothing in parrot_places()[0]


def test_usage_tells_what_it_can_do(stand_in, tmp_path):
    assert not knows_mskin(stand_in())
    assert knows_mskin(stand_in(patched=True))
    assert parrot_version(parrot_usage(stand_in())) == "9.9.9"
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho library not found\nexit 1\n")
    with pytest.raises(ProgramError, match="does not start"):
        knows_mskin(other)
    other.chmod(0o755)
    with pytest.raises(ProgramError, match="library not found"):
        knows_mskin(other)


def agreement(solvent, coefficients, reflections):
    """MCC of a mask with the one that Parrot makes of coefficients, by the emulation."""
    content = float(solvent.array.mean())
    grid = density_map(reflections, coefficients, reflections.d_min / 3)
    rebuilt = local_deviation_mask(grid, CARRIER_FILTER_RADIUS, content)
    unit = asymmetric_unit(solvent)
    return np.corrcoef(rebuilt[unit], solvent.array[unit] > 0.5)[0, 1]


@pytest.mark.parametrize("symbol", CELLS)
@pytest.mark.parametrize("d_min, least", [(1.8, 0.90), (2.8, 0.83)])
def test_carrier_brings_the_mask(symbol, d_min, least):
    structure = blob(symbol)
    reflections = Reflections(structure.cell, structure.find_spacegroup(), d_min)
    grid = density_map(reflections, np.zeros(len(reflections)), d_min / 3)
    mask = model_mask(structure, grid)
    carrier = carrier_coefficients(mask, reflections)
    found = agreement(mask, carrier, reflections)
    assert found > least
    # the coefficients of the mask itself do not bring it
    assert agreement(mask, structure_factors(mask, reflections), reflections) < found - 0.3
    # a carrier that breaks the symmetry would not survive as a map
    again = structure_factors(density_map(reflections, carrier, d_min / 3), reflections)
    assert np.abs(again - carrier).max() < 1e-3 * np.abs(carrier).max()


def test_soft_mask_is_cut_at_its_mean_and_other_grids_are_taken():
    structure = blob("P 21 21 21")
    reflections = Reflections(structure.cell, structure.find_spacegroup(), 2.0)
    mask = model_mask(structure, density_map(reflections, np.zeros(len(reflections)), 0.9))
    soft = soften(mask, 1.5)
    hard = density_map(reflections, np.zeros(len(reflections)), 2.0 / 3)
    hard = model_mask(structure, hard)
    assert agreement(hard, carrier_coefficients(soft, reflections), reflections) > 0.8


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_mask_of_one_region_has_no_carrier(value):
    structure = blob("P 1")
    reflections = Reflections(structure.cell, structure.find_spacegroup(), 4.0)
    grid = density_map(reflections, np.zeros(len(reflections)), 4.0 / 3)
    with pytest.raises(InputError, match="both protein and solvent"):
        carrier_coefficients(like(grid, np.full(grid.shape, value)), reflections)
