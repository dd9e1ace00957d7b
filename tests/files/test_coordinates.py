"""Sites are read from every format, compared with the data, and picked by their element."""

import gemmi
import numpy as np
import pytest
from crystals import crystal

from crank2_unet.crystal.reflections import Reflections
from crank2_unet.errors import InputError
from crank2_unet.files.coordinates import read_sites, read_structure
from crank2_unet.files.shelx import read_shelx

SITES = np.array([[0.1, 0.2, 0.3], [0.6, -0.25, 0.8], [0.45, 0.9, 0.05]])
OCCUPANCIES = (1.0, 0.6, 0.4)


@pytest.fixture(scope="module")
def reflections():
    return crystal("P 43 21 2", 4.0)


def pdb(path, reflections, positions=None, elements=("SE",) * 3, cell=None, group=None):
    cell = cell or reflections.cell
    lines = [f"CRYST1{cell.a:9.3f}{cell.b:9.3f}{cell.c:9.3f}{cell.alpha:7.2f}{cell.beta:7.2f}"
             f"{cell.gamma:7.2f} {group or reflections.spacegroup.hm:11s}"]
    for number, (fraction, element) in enumerate(zip(SITES, elements), 1):
        x, y, z = cell.orthogonalize(gemmi.Fractional(*fraction)).tolist() if positions is None else (
            positions[number - 1])
        lines.append(f"HETATM{number:5d} {element:>2s}   SUB S{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
                     f"{OCCUPANCIES[number - 1]:6.2f} 20.00          {element:>2s}")
    path.write_text("\n".join(lines) + "\nEND\n")
    return path


def shelx(path, reflections):
    cell = reflections.cell
    operators = [op.triplet() for op in reflections.spacegroup.operations().sym_ops]
    lines = ["TITL test", f"CELL 0.98 {' '.join(f'{v:g}' for v in cell.parameters)}", "LATT -1",
             *(f"SYMM {t.upper()}" for t in operators[1:]), "SFAC SE", "UNIT 24", "REM nothing",
             *(f"SE{n:02d}  1  {x:.6f} {y:.6f} {z:.6f} {10 + o:.4f} 0.25"
               for n, ((x, y, z), o) in enumerate(zip(SITES, OCCUPANCIES), 1)), "HKLF 3", "END"]
    path.write_text("\n".join(lines) + "\n")
    return path


def small_cif(path, reflections):
    cell = reflections.cell
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    path.write_text("data_x\n" + "".join(f"_cell_{n} {v}\n" for n, v in zip(names, cell.parameters))
                    + f"_symmetry_space_group_name_H-M '{reflections.spacegroup.hm}'\nloop_\n"
                    + "".join(f"_atom_site_{n}\n" for n in (
                        "label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy",
                        "U_iso_or_equiv"))
                    + "".join(f"Se{n} Se {x} {y} {z} {o} 0.25\n" for n, ((x, y, z), o) in
                              enumerate(zip(SITES, OCCUPANCIES))))
    return path


def mmcif(path, reflections):
    structure = read_structure(pdb(path.with_suffix(".pdb"), reflections))
    structure.make_mmcif_document().write_file(str(path))
    return path


def fractions(structure):
    return np.array([structure.cell.fractionalize(s.atom.pos).tolist() for s in structure[0].all()])


@pytest.mark.parametrize("make, name", [(pdb, "a.pdb"), (mmcif, "a.cif"), (small_cif, "a.cif"),
                                        (shelx, "a.res"), (shelx, "a.hat"), (shelx, "a.INS")])
def test_every_format_gives_the_same_sites(make, name, reflections, tmp_path):
    found = read_sites(make(tmp_path / name, reflections), reflections, "Se")
    assert np.allclose(fractions(found), SITES, atol=2e-5)
    assert np.allclose([s.atom.occ for s in found[0].all()], OCCUPANCIES)
    assert found.cell.parameters == reflections.cell.parameters
    assert {s.atom.element.name for s in found[0].all()} == {"Se"}


@pytest.mark.parametrize("symbol", ["P 1", "C 1 2 1", "I 1 2 1", "R 3:H", "F 4 3 2", "P 61 2 2"])
def test_symmetry_of_shelx(symbol, tmp_path):
    reflections = crystal(symbol, 8.0)
    lattice = {"P": 1, "I": 2, "R": 3, "F": 4, "A": 5, "B": 6, "C": 7}[symbol[0]]
    path = shelx(tmp_path / "a.res", reflections)
    path.write_text(path.read_text().replace("LATT -1", f"LATT -{lattice}"))
    assert read_shelx(path).spacegroup.xhm() == symbol


def test_free_variables_of_shelx(reflections, tmp_path):
    path = shelx(tmp_path / "a.res", reflections)
    path.write_text(path.read_text().replace("UNIT 24", "UNIT 24\nFVAR 1.0 0.3").replace(
        "10.6000", "21.0000").replace("0.100000", "10.10000"))
    found = read_sites(path, reflections)
    assert [s.atom.occ for s in found[0].all()][1] == pytest.approx(0.3)
    assert np.allclose(fractions(found)[0], SITES[0], atol=1e-5)


def test_fractional_coordinates_survive_another_cell(reflections, tmp_path):
    other = gemmi.UnitCell(*(v * 1.012 if v < 90 else v for v in reflections.cell.parameters))
    found = read_sites(pdb(tmp_path / "a.pdb", reflections, cell=other), reflections)
    assert np.allclose(fractions(found), SITES, atol=2e-5)
    other = gemmi.UnitCell(*(v * 1.05 if v < 90 else v for v in reflections.cell.parameters))
    with pytest.raises(InputError, match="another cell"):
        read_sites(pdb(tmp_path / "a.pdb", reflections, cell=other), reflections)


def test_fractional_coordinates_in_a_pdb_file_are_refused(reflections, tmp_path):
    with pytest.raises(InputError, match="fractional.*SHELX"):
        read_sites(pdb(tmp_path / "a.pdb", reflections, SITES), reflections)


@pytest.mark.parametrize("group, said", [
    ("P 41 21 2", "two hands"), ("P 42 21 2", "P 42 21 2, but the data have P 43 21 2")])
def test_another_space_group_is_refused_in_both_hands(group, said, reflections, tmp_path):
    with pytest.raises(InputError, match=said):
        read_sites(pdb(tmp_path / "a.pdb", reflections, group=group), reflections)
    turned = Reflections(reflections.cell, gemmi.SpaceGroup("P 41 21 2"), 4.0)
    if group == "P 41 21 2":
        assert len(fractions(read_sites(tmp_path / "a.pdb", turned))) == 3


def test_no_space_group_is_said(reflections, tmp_path, caplog):
    read_sites(pdb(tmp_path / "a.pdb", reflections, group="P 1"), reflections)
    assert "asymmetric unit" in caplog.text


def test_scatterers_are_picked_from_a_model(reflections, tmp_path, caplog):
    path = pdb(tmp_path / "a.pdb", reflections, elements=("C", "SE", "O"))
    found = read_sites(path, reflections, "Se")
    assert np.allclose(fractions(found), SITES[1:2], atol=2e-5)
    assert "its 1 atoms of Se are taken as sites; there are also 1 C, 1 O" in caplog.text
    with pytest.raises(InputError, match="no atom of Xe, but 1 C, 1 Se, 1 O"):
        read_sites(path, reflections, "Xe")
    with pytest.raises(InputError, match="no element selenium"):
        read_sites(path, reflections, "selenium")


def test_makeshift_elements_are_taken_and_said(reflections, tmp_path, caplog):
    found = read_sites(pdb(tmp_path / "a.pdb", reflections, elements=("S",) * 3), reflections, "Se")
    assert len(fractions(found)) == 3 and "3 S, are taken as sites of Se" in caplog.text
    assert [site.atom.element.name for site in found[0].all()] == 3 * ["Se"]  # as results write them


@pytest.mark.parametrize("old, new", [("20.00", "  inf"), (" 1.00", "  inf")])
def test_numbers_that_are_none(old, new, reflections, tmp_path):
    path = pdb(tmp_path / "a.pdb", reflections)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match="a.pdb"):
        read_sites(path, reflections)


@pytest.mark.parametrize("name, text", [("a.json", "{}"), ("a.res", "TITL x\n"), ("a.pdb", "END\n"),
                                        ("a.res", "CELL 1 2 x\n"), ("a.xyz", "1 2 3\n")])
def test_no_coordinate_file(name, text, reflections, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        read_sites(tmp_path / name, reflections)
