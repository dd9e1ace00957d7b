"""Entries of a served PDB: found, fetched, phased, left out for the right reason, never twice."""

import json
from dataclasses import replace

import gemmi
import numpy as np
import pytest
from pdb_server import Pdb, served
from peptide import toy
from perfect_experiment import PERFECT

from crank2_unet.errors import InputError
from crank2_unet.simulation.experiment import simulate_sad
from crank2_unet.training.cli import add_commands
from crank2_unet.training.deposited import entry
from crank2_unet.training.deposited.archive import sad_query
from crank2_unet.training.deposited.collect import KEPT_OUT, from_folder, from_pdb, render
from crank2_unet.training.deposited.split import families, validation_families
from crank2_unet.training.preparation.prepared import PreparedStructure

WAVELENGTH = "_diffrn_radiation_wavelength.id 1\n_diffrn_radiation_wavelength.wavelength 0.979\n"


def selenium(structure):
    """The crystal with selenium in place of sulphur."""
    structure = structure.clone()
    for cra in structure[0].all():
        if cra.atom.element.name == "S":
            cra.atom.element = gemmi.Element("Se")
    return structure


def measured(structure):
    """Reflections and Friedel mates, (n, 4), of a good experiment."""
    settings = replace(PERFECT, i_over_sigma=20.0)
    data = simulate_sad(structure, settings, np.random.default_rng(0)).data
    mates = np.stack([data.f_plus, data.sigf_plus, data.f_minus, data.sigf_minus], axis=1)
    mates[data.reflections.centric, 2:] = mates[data.reflections.centric, :2]
    return data.reflections, mates


def as_cif(reflections, mates, anomalous=True):
    """Structure factors as deposited, with Friedel mates or their first ones only."""
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(reflections.cell)
    mtz.add_dataset("peak").wavelength = 0.979
    columns = [("F(+)", "G"), ("SIGF(+)", "L"), ("F(-)", "G"), ("SIGF(-)", "L")] if anomalous else [
        ("F", "F"), ("SIGF", "Q")]
    for label, kind in columns:
        mtz.add_column(label, kind)
    mtz.set_data(np.hstack([reflections.hkl, mates[:, :len(columns)]]).astype(np.float32))
    return gemmi.MtzToCif().write_cif_to_string(mtz)


@pytest.fixture(scope="module")
def files():
    """Coordinates and structure factors of one good entry and of one for each reason."""
    good = toy("aaaa")
    reflections, mates = measured(good)
    phased, native = as_cif(reflections, mates), as_cif(reflections, mates, anomalous=False)
    # a file of structure factors often has several data sets; here the second has the mates
    several = native + phased.replace("data_mtz", "data_mates")
    shuffled = as_cif(reflections, np.random.default_rng(1).permutation(mates))
    light = toy("aaaa")
    for cra in light[0].all():
        if cra.atom.element.name == "S":
            cra.atom.element = gemmi.Element("C")
    swollen = toy("aaaa")
    swollen.cell = gemmi.UnitCell(44, 50, 60, 90, 90, 90)
    found = {}
    for code, structure, data in (("good", selenium(good), several), ("twin", selenium(good), phased),
                                  ("nope", good, native), ("cell", selenium(swollen), phased),
                                  ("lite", light, phased),
                                  ("badp", selenium(good), shuffled), ("data", good, None)):
        found[f"{code}.cif.gz"] = structure.make_mmcif_document().as_string() + WAVELENGTH
        if data:
            found[f"{code}-sf.cif.gz"] = data
    found["odd1.cif.gz"], found["odd1-sf.cif.gz"] = "not mmCIF", phased
    return found


CODES = ["BADP", "CELL", "DATA", "GOOD", "LITE", "NOPE", "ODD1", "TWIN"]
EXPECTED = dict(zip(CODES, (entry.NOT_PHASED, entry.OTHER_CELL, entry.NO_ANOMALOUS, None,
                            entry.NO_SCATTERER, entry.NO_ANOMALOUS, entry.UNREADABLE, None)))


def test_a_served_pdb_becomes_training_data(files, tmp_path):
    pdb = Pdb(CODES, files, "GOOD_1 TWIN_1 9XXX_2\nBADP_1\nCELL_1 9YYY_1\n", busy=2,
              cut={"good-sf.cif.gz"})
    with served(pdb) as archive:
        manifest = from_pdb(tmp_path, archive, workers=0)
        asked = len(pdb.asked)
        again = from_pdb(tmp_path, archive, workers=0)
    assert {e["code"]: e["excluded"] for e in manifest["entries"]} == EXPECTED
    counts = manifest["counts"]
    assert counts["found"] == 8 and counts["used"] == 2 and sum(counts.values()) == 16
    assert counts[entry.NO_ANOMALOUS] == 2 and "no anomalous data" in render(manifest)
    # nothing is asked or made twice, and the second manifest is the first
    assert len(pdb.asked) == asked and again == manifest
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    good = next(e for e in manifest["entries"] if e["code"] == "GOOD")
    assert good["scatterer"] == "Se" and good["n_sites"] == 9 and good["phase_error"] < 60
    assert good["files"]["reflections"]["url"].endswith("/download/good-sf.cif.gz")
    assert good["wavelength"] == pytest.approx(0.979)
    prepared = PreparedStructure.read(tmp_path / good["split"] / "good_0.npz")
    assert prepared.code == "GOOD" and prepared.phase_error[0] == pytest.approx(good["phase_error"])
    assert not [path for path in tmp_path.rglob("*") if "part" in path.name]
    assert pdb.queries[0]["query"] == sad_query() and len(pdb.queries) == 4


def test_a_changed_download_is_fetched_again_and_a_kill_loses_nothing(files, tmp_path):
    pdb = Pdb(["GOOD"], files)
    with served(pdb) as archive:
        from_pdb(tmp_path, archive, workers=0)
        # as a run killed between download and phasing leaves it, with a file cut by a full disk
        (tmp_path / "records" / "GOOD.json").unlink()
        (tmp_path / "files" / "good.cif.gz").write_bytes(b"")
        asked = len(pdb.asked)
        manifest = from_pdb(tmp_path, archive, workers=0)
    assert pdb.asked[asked:] == ["/download/good.cif.gz"] and manifest["counts"]["used"] == 1


def test_families_of_what_is_kept_out_are_kept_out(files, tmp_path):
    pdb = Pdb(CODES, files, "GOOD_1 TWIN_1 9XXX_2\n")
    with served(pdb) as archive:
        manifest = from_pdb(tmp_path, archive, workers=0, keep_out=["9xxx"])
    assert manifest["counts"][KEPT_OUT] == 2 and manifest["counts"]["used"] == 0
    assert not [path for path in pdb.asked if "good" in path]


def test_servers_that_do_not_answer_are_said(files, tmp_path):
    with served(Pdb(CODES, files, busy=100)) as archive, pytest.raises(InputError, match="Repeat"):
        from_pdb(tmp_path, archive, workers=0)
    with served(Pdb([], files)) as archive, pytest.raises(InputError, match="found no entry"):
        from_pdb(tmp_path / "none", archive, workers=0)
    with served(Pdb(CODES, files)) as archive:
        from_pdb(tmp_path / "all", archive, workers=0, limit=1)
        with pytest.raises(InputError, match="another search"):
            from_pdb(tmp_path / "all", archive, d_min=3.0, workers=0)


def test_a_folder_of_files_gives_the_same(files, tmp_path):
    source, out = tmp_path / "a folder", tmp_path / "out"
    source.mkdir()
    for name, text in files.items():
        if name.startswith(("good", "twin", "cell")):
            (source / name.replace(".gz", "")).write_text(text)
    (tmp_path / "clusters.txt").write_text("GOOD_1 TWIN_1\n")
    manifest = from_folder(source, out, tmp_path / "clusters.txt", workers=0)
    assert {e["code"]: e["excluded"] for e in manifest["entries"]} == {
        code: EXPECTED[code] for code in ("CELL", "GOOD", "TWIN")}
    used = [e for e in manifest["entries"] if e["excluded"] is None]
    assert len({(e["split"], e["family"], e["phase_error"]) for e in used}) == 1
    with pytest.raises(InputError, match="no structure factors"):
        from_folder(tmp_path / "nowhere", out)


def test_families_are_connected_clusters():
    codes = ["A", "B", "C", "D", "E"]
    family = families(codes, [["A", "X", "B"], ["B", "C"], ["D", "D"]])
    assert family[0] == family[1] == family[2] and len(set(family)) == 3
    assert len(set(families(codes, []))) == 5


def test_validation_takes_whole_families_of_about_its_share():
    family = np.repeat(np.arange(300), np.arange(300) % 7 + 1)
    chosen = validation_families(family, seed=3)
    assert 0.05 <= chosen.mean() <= 0.1
    assert not set(family[chosen]) & set(family[~chosen])
    np.testing.assert_array_equal(chosen, validation_families(family, seed=3))
    assert (chosen != validation_families(family, seed=4)).any()


@pytest.mark.parametrize("arguments, message", [
    (["--from-pdb", "--variants", "2"], "--variants goes with a FOLDER"),
    (["structures", "--keep-out", "codes.txt"], "--keep-out goes with --from-pdb"),
    (["--from-pdb", "--clusters", "c.txt"], "--clusters goes with --from-folder")])
def test_options_of_another_source_are_refused(arguments, message, tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    add_commands(parser)
    options = parser.parse_args(["prepare", *arguments, "-o", str(tmp_path)])
    with pytest.raises(InputError, match=message):
        options.run(options)




@pytest.mark.realdata
@pytest.mark.parametrize("name, element, sites",
                         [("toxd_au", "Au", True), ("2isb_se_sad", "Se", False)])
def test_measured_data_deposited_as_mmcif_are_phased(name, element, sites, shared_data, tmp_path):
    folder = shared_data / "sad" / name
    structure = gemmi.read_structure(str(folder / "model.pdb.gz"))
    if sites:  # the model is of the protein only
        chain = gemmi.Chain("Z")
        for number, site in enumerate(gemmi.read_structure(str(folder / "sites.pdb"))[0].all(), 1):
            residue = gemmi.Residue()
            residue.name, residue.seqid = site.residue.name, gemmi.SeqId(number, " ")
            residue.add_atom(site.atom)
            chain.add_residue(residue)
        structure[0].add_chain(chain)
    mtz = gemmi.read_mtz_file(str(folder / "data.mtz"))
    source = tmp_path / "source"
    source.mkdir()
    (source / "1abc.cif").write_text(structure.make_mmcif_document().as_string())
    (source / "1abc-sf.cif").write_text(gemmi.MtzToCif().write_cif_to_string(mtz))
    manifest = from_folder(source, tmp_path / "out", workers=0)
    found, = manifest["entries"]
    assert found["excluded"] is None and found["scatterer"] == element and found["split"] == "train"
    assert found["phase_error"] < 70 and found["e_correlation"] > 0.7
    assert abs(found["solvent"] - json.loads((folder / "meta.json").read_text())["validation"][
        "solvent_content_matthews"]) < 0.06
