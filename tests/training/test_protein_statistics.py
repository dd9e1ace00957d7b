import csv
import gzip
import json

import numpy as np
import pytest
from blob import blob

from crank2_unet.modification.protein_statistics import LEVELS, protein_levels
from crank2_unet.training.calibration.protein_statistics import main


@pytest.mark.parametrize("d_min", [1.0, 1.5, 2.77, 4.0, 8.0])
def test_levels_are_standardised_and_increase(d_min):
    levels = protein_levels(d_min)
    assert levels.shape == (LEVELS,) and np.all(np.diff(levels) > 0)
    assert levels.mean() == pytest.approx(0, abs=1e-9) and levels.std() == pytest.approx(1)


def test_density_is_more_skewed_at_high_resolution():
    skewness = [np.mean(protein_levels(d_min) ** 3) for d_min in (1.5, 2.0, 3.0, 4.0)]
    assert np.all(np.diff(skewness) < 0) and skewness[0] > 1 and 0 < skewness[-1] < 0.5


def test_table_is_made_from_a_folder_of_structures(tmp_path):
    row = {"code": "toy", "split": "train", "n_nuc": "0", "f_sidechain": "1.0", "mean_B": "20",
           "n_residues": "100"}
    with open(tmp_path / "index.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerows([row, {**row, "code": "other", "split": "test"}])
    with gzip.open(tmp_path / "toy.cif.gz", "wt") as file:
        file.write(blob("P 21 21 21").make_mmcif_document().as_string())
    main([str(tmp_path), str(tmp_path / "table.json")])
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["origin"].startswith("1 protein")
    assert np.array(table["levels"]).shape == (len(table["d_min"]), LEVELS)
