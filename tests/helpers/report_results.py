"""Results and maps for the tests of the report."""

import gemmi
import numpy as np

from crank2_unet.crystal.grids import empty_grid, like
from crank2_unet.report.figures import Layer

NASTY = "<script>alert('x')</script>&\"$"
MINIMAL = {"schema": 1, "command": "segment", "status": "ok", "warnings": [],
           "program": {"name": "crank2-unet", "version": "0"}}


def blob(cell, symbol="P 1", centre=(0.5, 0.5, 0.5), width=6.0, spacing=1.2):
    """A round Gaussian, Angstrom wide, in the middle of the cell."""
    grid = empty_grid(cell, gemmi.SpaceGroup(symbol), spacing)
    fractions = np.stack(np.meshgrid(*(np.arange(n) / n for n in grid.shape), indexing="ij"), -1)
    offset = (fractions - centre) @ np.array(cell.orth.mat.tolist()).T
    return like(grid, np.exp(-np.sum(offset**2, axis=-1) / (2 * width**2)))


def layers(symbol="P 1 21 1"):
    """Before, after and P(flat) in a monoclinic cell."""
    cell = gemmi.UnitCell(40, 50, 60, 90, 110, 90)
    before = blob(cell, symbol, spacing=2.5)
    before.symmetrize_max()
    after = like(before, before.array**2)
    first, last = like(before, before.array < 0.3), like(before, after.array < 0.3)
    return [Layer("Before", before, first), Layer("After", after, last, sites=[(0.5, 0.5, 0.5)]),
            Layer("P(flat)", like(before, 1 - before.array), last, "probability")]


def full_result():
    """A result with every part that a report shows, and nasty text wherever text may stand."""
    x = np.linspace(0, 1, 101)
    counts, edges = np.histogram(np.random.default_rng(1).random(500), 20, (0, 1))
    site = {"xyz": [0.1, 0.2, 0.3], "occupancy": 1.0, "b_iso": 20.0, "height": 9.5, "given": True}
    bins = [{"d_max": 2 * d, "d_min": d, "fom": d / 10, "phasing_power": d / 4, "rms_dano": 9.0 * d,
             "rms_calculated": 4.0 * d, "rms_error": 8.0 * d, "n": 9} for d in (4, 3, 2)]
    statistics = {"n_sites": 1, "fom": 0.31, "phasing_power": 0.8, "map_skewness": 0.2}
    return {
        **MINIMAL, "command": "solve", "arguments": ["solve", NASTY], "mask_source": NASTY,
        "warnings": [NASTY],
        "verdict": {"word": "promising", "expected": {"correlation": 0.712, "uncertainty": 0.066,
                                                      "probability": 0.97},
                    "reasons": [NASTY], "advice": ["Build a model."], "features": {}},
        "stages": [{"name": "phase", "title": "Phases from sites", "seconds": 3.0, "said": NASTY,
                    "report": "phase/report.html", "kept": False, "chosen": True}],
        "input": {"file": NASTY, "labels": {"fo": NASTY}, "cell": [40, 50, 60, 90, 110, 90],
                  "spacegroup": NASTY, "d_min": 2.0, "d_max": 30.0, "n_reflections": 9,
                  "n_measured": 8},
        "model": {"name": NASTY, "version": NASTY, "sha256": "ab"},
        "device": {"asked": "auto", "used": "cpu", "provider": "CPUExecutionProvider",
                   "threads": 2, "note": NASTY},
        "solvent_content": {
            "value": 0.437, "rule": "joint", "unet_expected": 0.45,
            "matthews": [{"copies": 3, "solvent": 0.43, "probability": 0.9, "unet": 0.8,
                          "joint": 0.9}],
            "distributions": {"solvent": x.tolist(), "matthews": None,
                              "unet": np.exp(-((x - 0.4) ** 2) * 50).tolist(),
                              "joint": None}},
        "mask": {"fraction": 0.44, "probability_cutoff": 0.52,
                 "histogram": {"edges": edges, "counts": counts}},
        "map_quality": {"correlation": 0.111, "uncertainty": 0.08},
        "cycles": [{"cycle": i, "fom": 0.5 + 0.1 * i, "gamma": None if i == 1 else 0.1,
                    "solvent_fraction": 0.43700001 + 1e-8 * i, "phase_change": 30.0 / i,
                    "work_correlation": 0.3 * i, "free_correlation": 0.25 * i, "phase_trust": 1.0,
                    "agreement_trust": 0.5 + 0.1 * i, "ncs_correlation": None} for i in (1, 2, 3)],
        "shells": [{"d_max": 2 * d, "d_min": d, "sigma_a": d / 10, "work_correlation": d / 5,
                    "free_correlation": d / 8 - 0.3,
                    "acentric": {"n": 90, "fom": d / 5, "phase_change": 40.0 + d},
                    "centric": {"n": 9, "fom": None, "phase_change": None}} for d in (4, 3, 2)],
        "phases": {"trust": 0.5, "claimed_fom": 0.41, "supported_fom": 0.36},
        "ncs_sites": NASTY, "ncs": [{"operator": "10,20,30,1,2,3,4,5,6", "volume": 0.25,
                                     "correlation": 0.61}],
        "scatterer": {"element": "Se", "f_prime": -8.0, "f_double_prime": 4.5},
        "phasing": {**statistics, "f_double_prime": 4.7, "bins": bins, "sites": [site],
                    "absolute": {"f_double_prime_given": 4.5}, "f_double_prime_comment": NASTY,
                    "completion": {"added": [site], "dropped": [], "merged": []},
                    "hands": [{"hand": "given", "statistics": statistics},
                              {"hand": "other", "statistics": {**statistics, "map_skewness": 0.1}}]},
        "timings": {"total": 3.21}, "outputs": {NASTY: NASTY, "columns": {"FWT": "FWT_2"}},
    }
