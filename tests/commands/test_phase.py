"""Sites that the command 'phase' adds and drops: in files, in the result and in print."""

import json
from pathlib import Path
from types import SimpleNamespace

import gemmi
import numpy as np
import pytest

from crank2_unet.cli.main import main
from crank2_unet.files.mtz_input import read_anomalous, read_phased
from crank2_unet.jobs.phase import MADE_MATES, _judge

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = ["phase", str(EXAMPLES / "example.mtz"), "--element", "Se", "--cycles", "1"]


def positions(path) -> list[gemmi.Position]:
    structure = gemmi.read_structure(str(path))
    return [gemmi.Position(*site.atom.pos.tolist()) for site in structure[0].all()]


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """The sites of the example: one removed, a wrong one put in."""
    structure = gemmi.read_structure(str(EXAMPLES / "sites.pdb"))
    _, removed, *_ = [site.atom for site in structure[0].all()]
    removed.pos = structure.cell.orthogonalize(gemmi.Fractional(0.1, 0.4, 0.2))
    path = tmp_path_factory.mktemp("sites") / "changed.pdb"
    path.write_text(structure.make_pdb_string())
    return path


def test_a_wrong_site_goes_and_a_missing_one_comes(changed, tmp_path, capsys):
    assert main([*EXAMPLE, "--sites", str(changed), "-o", str(tmp_path)]) == 0
    phasing = json.loads((tmp_path / "result.json").read_text())["phasing"]
    completion = phasing["completion"]
    assert len(completion["added"]) == len(completion["dropped"]) == 1
    assert completion["added"][0]["height"] > completion["threshold"]
    found, true = positions(tmp_path / "sites.pdb"), positions(EXAMPLES / "sites.pdb")
    assert len(found) == len(true) == phasing["n_sites"] == len(phasing["sites"])
    structure = gemmi.read_structure(str(EXAMPLES / "sites.pdb"))
    structure.setup_cell_images()
    missing = structure.cell.find_nearest_image(true[1], found[-1], gemmi.Asu.Any)
    assert missing.dist() < 0.8
    said = capsys.readouterr()
    assert "added" in said.out and "dropped" in said.out
    assert "the data do not support it" in said.err


def test_sites_can_be_kept(changed, tmp_path):
    assert main([*EXAMPLE, "--sites", str(changed), "-o", str(tmp_path), "--keep-sites"]) == 0
    phasing = json.loads((tmp_path / "result.json").read_text())["phasing"]
    assert phasing["completion"] is None
    assert len(positions(tmp_path / "sites.pdb")) == len(positions(changed))


def test_other_crystals_are_not_handed_on(tmp_path, caplog):
    """Their cells, and flags of the same name, would be in doubt in all that follows."""
    mtz = gemmi.read_mtz_file(str(EXAMPLES / "example.mtz"))
    native = mtz.add_dataset("native")
    native.cell = gemmi.UnitCell(*(1.01 * x for x in mtz.cell.parameters[:3]), 90, 90, 90)
    for label, kind, source in (("FNAT", "F", "F"), ("SIGFNAT", "Q", "SIGF"), ("FNAT(+)", "G", "F(+)"),
                                ("SIGFNAT(+)", "L", "SIGF(+)"), ("FREE", "I", "H")):
        column = mtz.add_column(label, kind, dataset_id=native.id)
        column.array[:] = mtz.column_with_label(source).array
    mtz.write_to_file(str(tmp_path / "two.mtz"))
    sites = ["--sites", str(EXAMPLES / "sites.pdb"), "--element", "Se", "--cycles", "1"]
    assert main(["phase", str(tmp_path / "two.mtz"), *sites, "-o", str(tmp_path / "out")]) == 0
    assert "several unit cells" in caplog.text
    made = gemmi.read_mtz_file(str(tmp_path / "out" / "phased.mtz"))
    assert [d.dataset_name for d in made.datasets if d.dataset_name == "native"] == []
    labels = [c.label for c in made.columns]
    assert "FREE" in labels and "F(-)" in labels and not [x for x in labels if "NAT" in x]
    caplog.clear()
    read_phased(tmp_path / "out" / "phased.mtz")
    assert "unit cell" not in caplog.text


def test_mates_made_of_differences_are_handed_on(tmp_path):
    mtz = gemmi.read_mtz_file(str(EXAMPLES / "example.mtz"))
    plus, sigma, minus, sigma_minus = (mtz.column_with_label(label).array.astype(float)
                                       for label in MADE_MATES)
    made = gemmi.Mtz(with_base=True)
    made.spacegroup = mtz.spacegroup
    made.set_cell_for_all(mtz.cell)
    made.add_dataset("peak").wavelength = 0.9792
    for label, kind in (("FSE", "F"), ("SIGFSE", "Q"), ("DANOSE", "D"), ("SIGDANOSE", "Q")):
        made.add_column(label, kind)
    error = np.hypot(sigma, sigma_minus)
    columns = [(plus + minus) / 2, error / 2, plus - minus, error]
    made.set_data(np.column_stack([mtz.array[:, :3], *columns]))
    made.write_to_file(str(tmp_path / "dano.mtz"))
    sites = ["--sites", str(EXAMPLES / "sites.pdb"), "--element", "Se", "--cycles", "1"]
    assert main(["phase", str(tmp_path / "dano.mtz"), *sites, "-o", str(tmp_path / "out")]) == 0
    _, given, labels = read_anomalous(tmp_path / "dano.mtz")
    _, handed_on, labels_again = read_anomalous(tmp_path / "out" / "phased.mtz")
    assert labels == {"fdano": "FSE,SIGFSE,DANOSE,SIGDANOSE"}
    assert labels_again == {"fpm": ",".join(MADE_MATES)}
    assert handed_on.wavelength == given.wavelength
    for name in ("f_plus", "sigf_plus", "f_minus", "sigf_minus"):
        np.testing.assert_allclose(getattr(handed_on, name), getattr(given, name), rtol=1e-5)
    assert read_phased(tmp_path / "out" / "phased.mtz").labels["fo"] == "F,SIGF"


def test_improved_phases_are_of_one_hand(changed, tmp_path, capsys):
    more = ["--sites", str(changed), "-o", str(tmp_path), "--phases", str(EXAMPLES / "example.mtz")]
    assert main([*EXAMPLE, *more, "--hand", "both"]) == 1
    assert "both hands" in capsys.readouterr().err
    assert main([*EXAMPLE, *more]) == 1
    assert "is not the dm.mtz" in capsys.readouterr().err


@pytest.mark.parametrize("wavelength, said", [(0.9793, False), (1.0, True)])
def test_a_wavelength_that_the_data_contradict(wavelength, said, tmp_path, capsys):
    """Beyond its edge selenium has a ninth of the f'' of the example, which is found all the same."""
    assert main([*EXAMPLE, "--sites", str(EXAMPLES / "sites.pdb"), "-o", str(tmp_path / "out"),
                 "--wavelength", str(wavelength)]) == 0
    assert ("0.52 would need sites of occupancy" in capsys.readouterr().err) is said
    found = json.loads((tmp_path / "out" / "result.json").read_text())["phasing"]
    assert 4 < found["f_double_prime"] < 6 and found["phasing_power"] > 0.5


@pytest.mark.parametrize("added, doubtful", [(0.5, False), (1.0, True)])
def test_more_added_than_given_is_doubtful(added, doubtful, caplog):
    """One site, or those of 10 % of the scattering, may be completed in either hand."""
    sites = [{"occupancy": 0.7, "given": True}, {"occupancy": added, "given": False}]
    statistics = {"sites": sites, "completion": None, "phasing_power": 1.0}
    _judge(SimpleNamespace(statistics=statistics), "given")
    assert ("of the other hand" in caplog.text) is ("Judge by" in caplog.text) is doubtful
    caplog.clear()
    _judge(SimpleNamespace(statistics=statistics), "given", hands_compared=True)
    assert ("of the other hand" in caplog.text) is doubtful and "Judge by" not in caplog.text


def test_the_composition_counts(changed, tmp_path):
    found, kept = [], ["--sites", str(changed), "-o", str(tmp_path), "--keep-sites"]
    for more in ([], ["--seq", str(EXAMPLES / "sequence.fasta")]):
        assert main([*EXAMPLE, *kept, *more]) == 0
        found.append(json.loads((tmp_path / "result.json").read_text())["phasing"]["absolute"])
    assert found[0]["scale_uncertainty"] != found[1]["scale_uncertainty"]
    assert found[0]["occupancy"] == pytest.approx(found[1]["occupancy"], rel=0.3)


@pytest.mark.slow
def test_sites_are_found_by_the_output_of_dm(changed, tmp_path):
    first, second = tmp_path / "phase", tmp_path / "again"
    assert main([*EXAMPLE, "--sites", str(changed), "-o", str(first)]) == 0
    assert main(["dm", str(first / "phased.mtz"), "--cycles", "2", "-o", str(tmp_path / "dm")]) == 0
    assert main([*EXAMPLE, "--sites", str(changed), "-o", str(second),
                 "--phases", str(tmp_path / "dm" / "dm.mtz")]) == 0
    completion = json.loads((second / "result.json").read_text())["phasing"]["completion"]
    assert completion["phases"] and len(completion["added"]) == 1
    # what is written claims no more than what the data give
    fom = [json.loads((x / "result.json").read_text())["phasing"]["fom"] for x in (first, second)]
    assert abs(fom[0] - fom[1]) < 0.03
