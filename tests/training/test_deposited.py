"""Entries of a served PDB: found, fetched, phased, left out for the right reason, never twice."""

import json
import re
import shlex
import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest
from entries import WAVELENGTH, as_cif, measured, selenium
from pdb_server import Pdb, served
from peptide import toy

from crank2_unet.cli.main import main
from crank2_unet.errors import InputError
from crank2_unet.training.cli import add_commands
from crank2_unet.training.deposited import collect, entry
from crank2_unet.training.deposited.archive import sad_query
from crank2_unet.training.deposited.collect import KEPT_OUT, from_folder, from_pdb, render
from crank2_unet.training.deposited.programs import Programs
from crank2_unet.training.deposited.split import families, validation_families
from crank2_unet.training.deposited.substructure import deposited_substructure
from crank2_unet.training.parallel import sha256
from crank2_unet.training.preparation.prepared import PreparedStructure


def chain_of(name, residues):
    """A chain of one atom for each residue."""
    chain = gemmi.Chain(name)
    for number, residue_name in enumerate(residues, 1):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid, residue.entity_type = (
            residue_name, gemmi.SeqId(number, " "), gemmi.EntityType.Polymer)
        atom.name, atom.element = "P", gemmi.Element("P")
        residue.add_atom(atom)
        chain.add_residue(residue)
    return chain


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
    # a complex: one chain more, of the other kind, by which the solvent content would be wrong
    complex_ = selenium(good)
    complex_[0].add_chain(chain_of("B", ["DA", "DC", "DG", "DT"]))
    sugar = selenium(good)
    for residue in sugar[0][0]:
        residue.name, residue.het_flag = "GLC", "H"
    sugar.setup_entities()
    found = {}
    for code, structure, data in (("good", selenium(good), several), ("twin", selenium(good), phased),
                                  ("nope", good, native), ("cell", selenium(swollen), phased),
                                  ("lite", light, phased), ("dnap", complex_, phased),
                                  ("suga", sugar, phased),
                                  ("badp", selenium(good), shuffled), ("data", good, None)):
        found[f"{code}.cif.gz"] = structure.make_mmcif_document().as_string() + WAVELENGTH
        if data:
            found[f"{code}-sf.cif.gz"] = data
    found["odd1.cif.gz"], found["odd1-sf.cif.gz"] = "not mmCIF", phased
    return found


EXPECTED = {"BADP": entry.NOT_PHASED, "CELL": entry.OTHER_CELL, "DATA": entry.NO_ANOMALOUS,
            "DNAP": entry.OTHER_POLYMER, "GOOD": None, "LITE": entry.NO_SCATTERER,
            "NOPE": entry.NO_ANOMALOUS, "ODD1": entry.UNREADABLE, "SUGA": entry.OTHER_POLYMER,
            "TWIN": None}
CODES = list(EXPECTED)


def test_a_served_pdb_becomes_training_data(files, tmp_path):
    pdb = Pdb(CODES, files, "GOOD_1 TWIN_1 9XXX_2\nBADP_1\nCELL_1 9YYY_1\n", busy=2,
              cut={"good-sf.cif.gz"})
    with served(pdb) as archive:
        manifest = from_pdb(tmp_path, archive, workers=0)
        asked = len(pdb.asked)
        again = from_pdb(tmp_path, archive, workers=0)
    assert {e["code"]: e["excluded"] for e in manifest["entries"]} == EXPECTED
    counts = manifest["counts"]
    assert counts["found"] == 10 and counts["used"] == 2 and sum(counts.values()) == 20
    assert counts[entry.NO_ANOMALOUS] == 2 and "no anomalous data  " in render(manifest)
    assert re.search(r"^nucleic acid, or no protein \* +2$", render(manifest), re.M)
    details = {e["code"]: e["detail"] for e in manifest["entries"]}
    assert details["DNAP"] == "4 of 40 residues are nucleotides" and "protein" in details["SUGA"]
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
    # what the split was made from, and what came of it
    clusters = manifest["source"]["clusters"]
    assert clusters["url"].endswith("/clusters/clusters-by-entity-30.txt") and clusters["date"]
    assert clusters["sha256"] == sha256(tmp_path / "clusters.txt")
    assert (manifest["keep_out"], manifest["limit"]) == ([], None)
    assert {e["code"] for e in manifest["entries"] if e["prepared"]} == {"GOOD", "TWIN"}
    assert good["prepared"]["sha256"] == sha256(tmp_path / good["prepared"]["path"])
    assert pdb.queries[0]["query"] == sad_query() and len(pdb.queries) == 5


@pytest.fixture
def interrupt(monkeypatch):
    """Lets the n-th call of a function of the collection end the run, as a kill would."""
    def after(name, calls):
        inner, left = getattr(collect, name), [calls]

        def counted(*arguments):
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return inner(*arguments)
        monkeypatch.setattr(collect, name, counted)
    return after


@pytest.mark.parametrize("place, calls", [("_clusters", 1), ("downloaded", 1), ("downloaded", 4),
                                          ("prepare_entry", 1), ("prepare_entry", 2),
                                          ("_counts", 1)])
def test_a_run_ended_anywhere_goes_on_and_comes_to_the_same(files, uninterrupted, interrupt, tmp_path,
                                                            monkeypatch, place, calls):
    pdb = Pdb(["LITE", "NOPE", "TWIN"], files, "NOPE_1 TWIN_1\n")
    with served(pdb) as archive:
        interrupt(place, calls)
        with pytest.raises(KeyboardInterrupt):
            from_pdb(tmp_path, archive, workers=0)
        assert not (tmp_path / "manifest.json").exists()
        monkeypatch.undo()
        manifest = from_pdb(tmp_path, archive, workers=0)
    assert same(manifest) == same(uninterrupted)
    downloads = [path for path in pdb.asked if "/download/" in path]
    assert len(downloads) - len(set(downloads)) <= 1  # the one that was under way


def same(manifest):
    """A manifest without its addresses and dates."""
    entries = [{key: value for key, value in entry.items() if key != "files"}
               for entry in manifest["entries"]]
    return {**{key: value for key, value in manifest.items() if key != "source"}, "entries": entries}


@pytest.fixture(scope="module")
def uninterrupted(files, tmp_path_factory):
    """The manifest of a run that was not interrupted."""
    with served(Pdb(["LITE", "NOPE", "TWIN"], files, "NOPE_1 TWIN_1\n")) as archive:
        return from_pdb(tmp_path_factory.mktemp("whole"), archive, workers=0)


def test_the_commands_of_the_page(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("files").mkdir()
    for name, text in files.items():
        if name.startswith(("lite", "twin")):
            Path("files", name.removesuffix(".gz")).write_text(text)
    Path("clusters-by-entity-30.txt").write_text("LITE_1 TWIN_1\n")
    page = (Path(__file__).parents[2] / "docs/pdb.md").read_text()
    commands = re.findall(r"^crank2-unet (model prepare .*-o pdb.*)$", page, re.M)
    assert len(commands) == 2
    with served(Pdb(["LITE", "TWIN"], files)) as archive:
        monkeypatch.setattr(collect, "Archive", lambda: archive)
        monkeypatch.setenv("CCP4", "/opt/ccp4")
        for line in commands:
            assert main([*line.split(), "--workers", "0"]) == 0
            told, said = capsys.readouterr()
            assert "CCP4 is set up, but not used" in said
            assert re.search(r"^no anomalous scatterer in the model \* +1$", told, re.M)
            assert re.search(r"^used +1$", told, re.M) and "phased by: crank2-unet" in told


def test_a_changed_download_is_fetched_and_phased_again(files, tmp_path):
    pdb = Pdb(["TWIN"], files)
    with served(pdb) as archive:
        first = from_pdb(tmp_path, archive, workers=0)
        # as a full disk cuts a file; and a prepared file that was lost
        (tmp_path / "files" / "twin.cif.gz").write_bytes(b"")
        (tmp_path / "train" / "twin_0.npz").unlink()
        asked = len(pdb.asked)
        again = from_pdb(tmp_path, archive, workers=0)
    assert pdb.asked[asked:] == ["/download/twin.cif.gz"] and same(again) == same(first)
    assert (tmp_path / "train" / "twin_0.npz").exists()


def test_an_entry_whose_files_do_not_come_stops_no_other(files, tmp_path):
    pdb = Pdb(["LITE", "TWIN"], files, broken={"lite-sf.cif.gz"})
    with served(pdb) as archive:
        manifest = from_pdb(tmp_path, archive, workers=0)
        assert manifest["counts"]["used"] == manifest["counts"]["failed"] == 1
        assert "did not come completely in 3 attempts" in manifest["failures"]["LITE"]
        pdb.broken.clear()
        assert from_pdb(tmp_path, archive, workers=0)["counts"][entry.NO_SCATTERER] == 1
        pdb.broken |= {name for name in files if "sf" in name}
        with pytest.raises(InputError, match="did not come completely"):
            from_pdb(tmp_path / "other", archive, workers=0)


def test_a_full_disk_is_said(files, tmp_path):
    out = tmp_path / "out"
    (out / "files").mkdir(parents=True)
    (out / "files/twin.cif.gz.part").symlink_to("/dev/full")
    with served(Pdb(["TWIN"], files)) as archive, pytest.raises(InputError, match="Make room"):
        from_pdb(out, archive, workers=0)


def test_prepared_files_follow_what_is_decided(files, tmp_path, monkeypatch):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for name in ("twin.cif.gz", "twin-sf.cif.gz"):
        (source / name.replace(".gz", "")).write_text(files[name])
    (tmp_path / "clusters.txt").write_text("TWIN_1\n")
    from_folder(source, out, workers=0)
    assert (out / "train/twin_0.npz").exists()
    moved, = from_folder(source, out, tmp_path / "clusters.txt", workers=0)["entries"]
    places = [path.parent.name for path in out.glob("*/twin_0.npz")]
    assert places == [moved["split"]]
    monkeypatch.setattr(entry, "_LARGEST_ERROR", 1.0)
    assert from_folder(source, out, workers=0, seed=1)["counts"][entry.NOT_PHASED] == 1
    assert not list(out.glob("*/twin_0.npz"))
    monkeypatch.undo()
    from_folder(source, out, workers=0)
    from_folder(source, out, workers=0, keep_out=["TWIN"])
    assert not list(out.glob("*/twin_0.npz"))
    with pytest.raises(InputError, match="cannot be made"):
        from_folder(source, tmp_path / "clusters.txt" / "out", workers=0)


def test_another_version_phases_anew(files, tmp_path, monkeypatch):
    for name in ("nope.cif.gz", "nope-sf.cif.gz"):
        (tmp_path / name.removesuffix(".gz")).write_text(files[name])
    for version in ("1.0", "2.0"):
        monkeypatch.setattr(collect, "__version__", version)
        manifest = from_folder(tmp_path, tmp_path / "out", workers=0)
        kept = json.loads((tmp_path / "out/records/NOPE.json").read_text())
        assert kept["settings"]["version"] == manifest["settings"]["version"] == version
    assert manifest["source"]["codes"] == ["NOPE"] and manifest["source"]["clusters"] is None


def test_families_of_what_is_kept_out_are_kept_out(files, tmp_path):
    pdb = Pdb(["GOOD", "NOPE", "TWIN"], files, "GOOD_1 TWIN_1 9XXX_2\n")
    with served(pdb) as archive:
        manifest = from_pdb(tmp_path, archive, workers=0, keep_out=["9xxx"])
    assert manifest["counts"][KEPT_OUT] == 2 and manifest["counts"]["used"] == 0
    assert manifest["keep_out"] == ["9XXX"]
    assert not [path for path in pdb.asked if "good" in path]


def test_servers_that_do_not_answer_are_said(files, tmp_path):
    with served(Pdb(CODES, files, busy=100)) as archive, pytest.raises(InputError, match="Repeat"):
        from_pdb(tmp_path, archive, workers=0)
    empty = Pdb([], files)
    with served(empty) as archive:
        with pytest.raises(InputError, match="found no entry"):
            from_pdb(tmp_path / "none", archive, workers=0)
        empty.codes.append("NOPE")  # a search without an answer is not kept
        assert from_pdb(tmp_path / "none", archive, workers=0)["counts"]["found"] == 1
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


def program(tmp_path, name, text):
    """A command line that runs a Python script."""
    (tmp_path / f"{name}.py").write_text(text)
    return shlex.join([sys.executable, str(tmp_path / f"{name}.py")])


SITES = """import sys, gemmi
sites = gemmi.read_structure(sys.argv[1])
turn, wrong = sys.argv[3:]
for number, cra in enumerate(sites[0].all()):
    x = sites.cell.fractionalize(cra.atom.pos).tolist()
    x = [0.5 - c if turn == "other" else c for c in x]
    if number >= int(wrong):
        x = [0.13 * (number + 1) % 1, 0.31 * (number + 1) % 1, 0.57 * (number + 1) % 1]
    cra.atom.pos = sites.cell.orthogonalize(gemmi.Fractional(*x))
sites.write_pdb(sys.argv[2])
"""
PHASES = """import sys, gemmi, numpy as np
from crank2_unet.files.mtz_input import read_anomalous
from crank2_unet.sad.phasing import phase_sad
from crank2_unet.sad.scatterer import Scatterer
data, sites, element, output = sys.argv[1:]
_, data, _ = read_anomalous(data)
given = gemmi.read_structure(sites)
hl = phase_sad(data, given, Scatterer.at_wavelength(element, data.wavelength), 0).hl
mtz = gemmi.Mtz(with_base=True)
mtz.spacegroup = data.reflections.spacegroup
mtz.set_cell_for_all(data.reflections.cell)
mtz.add_dataset("phased")
for label, kind in zip(("F", "SIGF", "HLA", "HLB", "HLC", "HLD"), "FQAAAA"):
    mtz.add_column(label, kind)
f = np.nan_to_num(data.f_plus, nan=1.0)
mtz.set_data(np.column_stack([data.reflections.hkl, f, f / 10, hl]).astype(np.float32))
mtz.write_to_file(output)
"""


def test_substructures_and_phases_by_other_programs(files, tmp_path):
    """The first program finds too little, the second the other hand at another origin."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("twin.cif.gz", "twin-sf.cif.gz"):
        (source / name.replace(".gz", "")).write_text(files[name])
    own, = from_folder(source, tmp_path / "own", workers=0)["entries"]
    structure = gemmi.read_structure(str(source / "twin.cif"))
    _, sites = deposited_substructure(structure, 0.979)
    sites.write_pdb(str(tmp_path / "truth.pdb"))
    finder = program(tmp_path, "find", SITES) + f" {tmp_path / 'truth.pdb'} {{output}} "
    phaser = program(tmp_path, "phase", PHASES) + " {data} {sites} {element} {output}"
    nothing = "test -s {data} -a -s {sequence}"
    programs = Programs((nothing, finder + "given 2", finder + "other 6", finder + "given 9"), phaser)
    manifest = from_folder(source, tmp_path / "out", workers=0, programs=programs)
    found, = manifest["entries"]
    assert found["substructure"] == 3 and found["found"] == pytest.approx([0, 2 / 9, 6 / 9], abs=0.12)
    assert own["phase_error"] < found["phase_error"] < 85  # three of nine sites are wrong
    assert manifest["substructures"] == {"found by command 3": 1}
    assert "find.py" in manifest["settings"]["substructure"][1] and "phase.py" in render(manifest)
    # those that find nothing leave the deposited one; phased by the same code it gives about the same
    again, = from_folder(source, tmp_path / "out", workers=0,
                         programs=Programs((nothing,), phaser))["entries"]
    assert (again["substructure"], again["found"]) == (0, [0.0])
    assert again["phase_error"] == pytest.approx(own["phase_error"], abs=5)


def test_programs_that_fail(files, tmp_path):
    for name in ("twin.cif.gz", "twin-sf.cif.gz"):
        (tmp_path / name.replace(".gz", "")).write_text(files[name])
    for programs, message in ((Programs(("no-such-program",)), "no-such-program does not start"),
                              (Programs((), "true {data}"), "has not written {output}")):
        with pytest.raises(InputError, match=message):
            from_folder(tmp_path, tmp_path / "out", workers=0, programs=programs)
    for how in ({"substructure": ("x {sites}",)}, {"phasing": "x {cycles}"}):
        with pytest.raises(InputError, match="unknown placeholder"):
            Programs(**how)


def test_the_sequence_for_programs_knows_modified_residues():
    structure = toy("aaaa")
    for residue in structure[0][0]:
        residue.name = "MSE" if residue.name == "MET" else residue.name
    structure.add_model(structure[0].clone())
    structure.setup_entities()
    assert entry._sequences(structure) == ["AAAM" * 9]


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
