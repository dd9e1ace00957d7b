"""Fit of the solvent prior: recovers its input, counts clusters once, matches the shipped."""

import json

import numpy as np
import pytest

from crank2_unet.errors import InputError
from crank2_unet.solvent import matthews
from crank2_unet.training.calibration.solvent_prior import RESOLUTION, SOLVENT, fit, fit_index, main

HEADER = "code,split,n_nuc,solvent,resolution,n_chains,cluster\n"


def test_fit_follows_resolution():
    rng = np.random.default_rng(0)
    resolution = np.repeat([1.0, 3.1], 500)
    solvent = np.concatenate([rng.normal(0.4, 0.05, 500), rng.normal(0.6, 0.05, 500)])
    table = fit(solvent, resolution, np.full(1000, 2), np.ones(1000))
    density = np.array(table["density"])
    assert density.shape == (len(RESOLUTION), 101)
    assert density.mean(axis=1) == pytest.approx(1, abs=0.01)
    assert density.min() >= 0.0099  # no option is ever impossible
    assert SOLVENT @ density[0] / density[0].sum() == pytest.approx(0.4, abs=0.01)
    assert SOLVENT @ density[-1] / density[-1].sum() == pytest.approx(0.6, abs=0.01)
    assert np.argmax(table["copies"]) == 1 and table["copies"][1] > 0.98


def test_homologues_count_once_and_other_splits_not_at_all(tmp_path):
    index = tmp_path / "index.csv"
    rows = ["a,train,0,0.3,2.0,1,c1\n"] * 9 + [
        "b,train,0,0.7,2.0,1,c2\n", "c,test,0,0.9,2.0,1,c3\n", "d,train,5,0.9,2.0,1,c4\n"]
    index.write_text(HEADER + "".join(rows))
    density = np.array(fit_index(index)["density"][5])
    assert density[30] == pytest.approx(density[70], rel=1e-3)
    assert density[90] == pytest.approx(0.01, abs=1e-3)
    output = tmp_path / "prior.json"
    main([str(index), str(output)])
    assert json.loads(output.read_text())["density"][5] == density.tolist()


def test_bad_index(tmp_path):
    index = tmp_path / "index.csv"
    index.write_text("code,solvent\n1abc,0.5\n")
    for path in (index, tmp_path / "absent.csv"):
        with pytest.raises(InputError, match="as index of structures"):
            fit_index(path)


@pytest.mark.realdata
def test_shipped_prior_is_this_fit(shared_data):
    again = fit_index(shared_data / "structures" / "index.csv")
    shipped = matthews.SolventPrior.shipped()
    for name in ("solvent", "resolution", "density", "copies"):
        assert np.array(again[name]) == pytest.approx(getattr(shipped, name), abs=2e-4), name
