"""Copy numbers and their probabilities: known crystals, priors, bad sequences, real structures."""

import csv

import gemmi
import numpy as np
import pytest

from crank2_unet.errors import InputError
from crank2_unet.solvent.matthews import (
    MEAN_RESIDUE_MASS,
    Composition,
    SolventPrior,
    kantardjieff_rupp,
    matthews_options,
)
from crank2_unet.solvent.sequences import read_sequences

LYSOZYME = ("KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWWCNDGRTPGSRNLCNIPC"
            "SALLSSDITASVNCAKKIVSDGNGMNAWVAWRNRCKGTDVQAWIRGCRL")
TETRAGONAL = gemmi.UnitCell(79.0, 79.0, 37.8, 90, 90, 90)


def write(tmp_path, text):
    path = tmp_path / "sequence.fasta"
    path.write_text(text)
    return path


def test_lysozyme(tmp_path):
    composition = Composition.from_file(
        write(tmp_path, f">hewl\n{LYSOZYME[:60]}\n{LYSOZYME[60:]}\n"))
    assert composition.mass == pytest.approx(14313, abs=25)  # 14313 with its four disulfides
    options = matthews_options(composition, TETRAGONAL, gemmi.SpaceGroup("P 43 21 2"), 1.5)
    assert len(options) == 1
    assert options[0].copies == 1
    assert options[0].vm == pytest.approx(2.06, abs=0.01)
    assert options[0].solvent == pytest.approx(1 - 1.23 / options[0].vm, abs=0.001)
    assert options[0].solvent == pytest.approx(0.40, abs=0.01)
    assert options[0].probability == 1.0


def test_copies_per_asymmetric_unit_not_per_cell():
    primitive = matthews_options(Composition(15000), TETRAGONAL, gemmi.SpaceGroup("P 1"), 2.0)
    assert primitive[7].solvent == pytest.approx(0.374, abs=0.002)  # 8 copies, as P 43 21 2 has
    assert [option.copies for option in primitive] == list(range(1, 13))
    assert all(option.solvent > 0 for option in primitive)
    assert sum(option.probability for option in primitive) == pytest.approx(1)
    centred = matthews_options(Composition(15000), TETRAGONAL, gemmi.SpaceGroup("C 1 2 1"), 2.0)
    assert centred[1].solvent == pytest.approx(primitive[7].solvent)  # 4 operations, centring too


@pytest.mark.parametrize("text, protein, nucleic", [
    (">a DNA\nGG\n>b dna\nG\n", 0, 3 * 347.221 - 18.015 - 0.01),
    (">a\nacgu\n", 0, 347.221 + 323.197 + 363.221 + 324.181 - 3 * 18.015),  # U: RNA
    (">P1;x\ntitle\nMK-W*\n", 149.208 + 146.188 + 204.225 - 2 * 18.015, 0),
    (">x\nM(MSE)W\n>d\nACGT\n", 149.208 + 196.106 + 204.225 - 2 * 18.015,
     331.222 + 307.197 + 347.221 + 322.208 - 3 * 18.015),
])
def test_masses_from_sequences(tmp_path, text, protein, nucleic):
    composition = Composition.from_file(write(tmp_path, text))
    assert composition.protein == pytest.approx(protein, abs=1.2)
    assert composition.nucleic == pytest.approx(nucleic, abs=1.2)


def test_nucleic_acid_is_denser():
    assert Composition(0, 1000).volume / Composition(1000).volume == pytest.approx(0.50 / 0.74)
    assert Composition.from_residues(100).mass == pytest.approx(100 * MEAN_RESIDUE_MASS)


@pytest.mark.parametrize("text", ["", "no sequence at all\n", ">empty\n\n", ">a\nMKV\n>b\n",
                                  ">a\nMK1V\n", ">a\nMKJ\n"])
def test_bad_sequences_name_the_file(tmp_path, text):
    with pytest.raises(InputError, match="sequence.fasta"):
        Composition.from_file(write(tmp_path, text))


def test_unreadable_files(tmp_path):
    binary = tmp_path / "data.mtz"
    binary.write_bytes(b"MTZ \xff\xfe\x00")
    for path in (binary, tmp_path, tmp_path / "absent.pir"):
        with pytest.raises(InputError, match="cannot be read"):
            Composition.from_file(path)
    with pytest.raises(InputError, match="-5"):
        Composition.from_residues(-5)


def test_too_large_for_the_crystal():
    with pytest.raises(InputError, match="does not fit"):
        matthews_options(Composition(50000), TETRAGONAL, gemmi.SpaceGroup("P 43 21 2"), 2.0)


def test_kantardjieff_rupp():
    vm = np.linspace(1.0, 9.0, 8001)
    # published average solvent content of DNA crystals is about 64 % and of complexes 61 %
    dna, mixed = (kantardjieff_rupp(vm, 2.0, fraction) for fraction in (1.0, 0.5))
    dna, mixed = dna - dna[-1], mixed - mixed[-1]
    assert np.sum(dna * (1 - 0.8303 / vm)) / dna.sum() == pytest.approx(0.64, abs=0.01)
    assert np.sum(mixed * (1 - 1.0986 / vm)) / mixed.sum() == pytest.approx(0.61, abs=0.01)
    # crystals that diffract further are denser, and every Vm stays possible
    peaks = [vm[np.argmax(kantardjieff_rupp(vm, d_min))] for d_min in (1.0, 1.55, 2.0, 3.0)]
    assert np.all(np.diff(peaks) > 0)
    assert kantardjieff_rupp(2.30, 2.0) == pytest.approx(577.2, abs=0.1)  # row to 2.001 A, by hand
    assert kantardjieff_rupp(50.0, 9.0) == pytest.approx(4.592)


def test_shipped_prior():
    prior = SolventPrior.shipped()
    assert prior.density.mean(axis=1) == pytest.approx(1, abs=0.02)
    assert prior.copies.sum() == pytest.approx(1, abs=1e-3)
    solvent = np.linspace(0.2, 0.9, 71)
    low, high = (solvent[np.argmax(prior.density_at(solvent, d))] for d in (1.2, 3.0))
    assert 0.38 < low < 0.48 and 0.50 < high < 0.70
    assert prior.density_at(0.5, 0.5) == prior.density_at(0.5, 1.0)  # constant beyond the table
    assert prior.density_at(0.5, 1.9) == pytest.approx(
        (prior.density_at(0.5, 1.8) + prior.density_at(0.5, 2.0)) / 2)
    assert np.all(prior.weight(np.array([1, 500]), np.array([0.01, 0.99]), 2.0) > 0)


def test_weight_of_copy_numbers_is_independent_of_the_variable():
    """Flat in log Vm: with equal P(n), copies only shift log Vm and are all equally probable."""
    solvent = np.linspace(0, 1, 1001)
    flat = np.where(solvent < 0.99, 1 / np.maximum(1 - solvent, 0.01), 0)  # p(s) of p(log Vm) = 1
    prior = SolventPrior(solvent, np.array([1.0, 3.0]), np.stack([flat, flat]), np.ones(1))
    copies = np.arange(1, 6)
    weight = prior.weight(copies, 1 - 0.15 * copies, 2.0)
    assert weight == pytest.approx(weight[0] * np.ones(5), rel=1e-3)


@pytest.mark.realdata
def test_deposited_structures(shared_data):
    right, errors = [], []
    with open(shared_data / "structures" / "index.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file)
                if row["split"] in ("validation", "test") and row["n_nuc"] == "0"]
    for row in rows:
        cell = gemmi.UnitCell(*(float(row[name]) for name in ("a", "b", "c", "al", "be", "ga")))
        chains, solvent = int(row["n_chains"]), float(row["solvent"])
        one = Composition.from_residues(round(int(row["n_residues"]) / chains))
        options = matthews_options(one, cell, gemmi.SpaceGroup(row["spacegroup"]),
                                   float(row["resolution"]))
        best = max(options, key=lambda option: option.probability)
        right.append(best.copies == chains)
        errors.append(abs(best.solvent - solvent))
    assert len(rows) > 250
    assert np.mean(right) > 0.85  # measured 0.90
    assert np.median(errors) < 0.02


def test_both_distributions_are_normalised_and_differ():
    options = matthews_options(Composition.from_residues(150), gemmi.UnitCell(80, 90, 110, 90, 90, 90),
                               gemmi.SpaceGroup("P 21 21 21"), 2.5)
    assert len(options) > 3
    for name in ("probability", "kantardjieff_rupp"):
        assert sum(getattr(o, name) for o in options) == pytest.approx(1.0)
    assert any(abs(o.probability - o.kantardjieff_rupp) > 0.01 for o in options)


ALANINE, GLYCINE, DNA = 89.093 - 18.015, 75.067 - 18.015, "ACGT" * 5


@pytest.mark.parametrize("content, residues, nucleic", [
    (b"\xef\xbb\xbf>a\nMKVL\n", 4, False),                        # UTF-8 with a byte-order mark
    (">a\nMKVL\n".encode("utf-16"), 4, False),
    (">prot\xe9ine\nMKVL\n".encode("latin-1"), 4, False),
    (b">a\r\nMK\r\nVL\r\n", 4, False),
    (b"MKVL\nMKVL\n", 8, False),                                  # no title
    (b"    1 MKVLATGGDD EERKLLNPQS\n   21 TVWYF\n", 25, False),    # numbered blocks
    (b">polyala\n" + 10 * b"A" + b"\n", 10, False),
    (b">silk\nGAGAGAGA\n", 8, False),
    (b">a\n" + DNA.encode(), 20, True),
    (b">P1;x\nMy protein\nMK-VL*\n", 4, False),
    (b">P1;x\n\nMKVL*\n", 4, False),                               # empty title
    (b">P1;x\nMKVLMKVLMKVLMKVLMKVLMKVLMKVLMKVLMKVL\nMK*\n", 38, False),  # no title
    (b">DL;x\ntitle\nGGGG*\n", 4, True),
    (b">P1;x\ntitle\n" + DNA.encode() + b"*\n", 20, False),         # the code says so
    (b">oligo, DNA (5'-3')\nGAGAGA\n", 6, True),
    (b";comment\n>a|Chains A, B|x\nMKVL\n>b\nMK\n", 6, False),
    (b"MKVLMKVL\n>>>\n", 8, False),                                # no title, an end of ">" alone
])
def test_sequence_files_of_every_kind(content, residues, nucleic, tmp_path):
    path = tmp_path / "sequence.fasta"
    path.write_bytes(content)
    found = read_sequences(path)
    assert sum(len(sequence.letters) for sequence in found) == residues
    assert all(sequence.nucleic == nucleic for sequence in found)


@pytest.mark.parametrize("text, letters", [
    (">rnase\nrnase\nMKVL\nMK\n", "MKVLMK"), (">P1;x\nmine\nMKVL*\n", "MKVL"), (">x\nMKVL\n", "MKVL"),
    (">a\nmine\nMKVL\n>b\nhis\nWW\n", "MKVLWW")])
def test_the_second_line_of_a_pir_file_is_a_title(text, letters, tmp_path):
    (tmp_path / "a.pir").write_text(text)
    assert "".join(s.letters for s in read_sequences(tmp_path / "a.pir")) == letters


ALIGNED = ">P1;target\n\nMAKNTSCG-QLRIR\n*\n>P1;template\n\nMA--TACGVQ-KIR\n*\n"


@pytest.mark.parametrize("name, text", [("a.pir", ALIGNED),
                                        ("a.fasta", ">a\nMAKNT.CG\n>b\nMARNTSCG\n")])
def test_an_alignment_is_no_content_of_a_crystal(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="is an alignment: its 2 sequences have gaps"):
        Composition.from_file(tmp_path / name)


@pytest.mark.parametrize("other, doubted", [("MAKNTSCGMQLRIR", True), ("MAKNTSCGVQLRIR", False),
                                            ("GWVRNLPDGSVEAV", False), ("MAKNTSCGMQLRI", False)])
def test_sequences_without_gaps_that_may_be_aligned_are_doubted(other, doubted, tmp_path, caplog):
    (tmp_path / "a.fasta").write_text(f">a\nMAKNTSCGVQLRIR\n>b\n{other}\n")
    Composition.from_file(tmp_path / "a.fasta")
    assert ("as in an alignment" in caplog.text) is doubted


def test_gaps_in_one_sequence_are_no_alignment(tmp_path):
    (tmp_path / "a.fasta").write_text(">a\nMAK-NTSCG\n>b\nMAKNTS\n")
    (tmp_path / "b.fasta").write_text(">a\nMAKNTSCG\n>b\nMAKNTS\n")
    assert Composition.from_file(tmp_path / "a.fasta") == Composition.from_file(tmp_path / "b.fasta")


def test_a_peptide_of_alanine_has_its_mass_and_is_said_to_be_one(tmp_path, caplog):
    for letters, mass in ((100 * "A", 100 * ALANINE), (30 * "GA", 30 * (GLYCINE + ALANINE))):
        caplog.clear()
        composition = Composition.from_file(write(tmp_path, f">x\n{letters}\n"))
        assert composition.protein == pytest.approx(mass + 18.015, abs=2) and composition.nucleic == 0
        assert "taken for protein" in caplog.text
