"""mmCIF, .phs and Scalepack are read as MTZ files are."""

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.errors import InputError
from crank2_unet.files.free_flags import set_aside
from crank2_unet.files.mtz_input import read_anomalous, read_phased


@pytest.fixture(scope="module")
def data():
    reflections = crystal("P 43 21 2", 5.0)
    true = random_coefficients(reflections)
    return reflections, np.abs(true), np.rad2deg(np.angle(true)) % 360


def refln(reflections, tags, rows, group="_symmetry.space_group_name_H-M 'P 43 21 2'"):
    """A block of structure factors."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    return ("".join(f"_cell.{n} {v}\n" for n, v in zip(names, reflections.cell.parameters))
            + f"{group}\nloop_\n" + "".join(
                f"_refln.{tag}\n" for tag in ("index_h", "index_k", "index_l", *tags.split()))
            + "".join(f"{' '.join(map(str, hkl))} {row}\n" for hkl, row in zip(reflections.hkl, rows)))


def test_mmcif(data, tmp_path):
    reflections, f, phi = data
    path = tmp_path / "r-sf.cif"
    path.write_text("data_r1abcsf\n" + refln(reflections, "F_meas_au F_meas_sigma_au phase_meas fom", [
        f"{x:.3f} {0.1 * x:.3f} {p:.3f} 0.7" for x, p in zip(f, phi)]))
    got = read_phased(path)
    assert np.allclose(got.data.f, f, atol=2e-3)
    assert np.allclose(got.data.coefficients, 0.7 * f * np.exp(1j * np.deg2rad(phi)), atol=0.02)


@pytest.mark.parametrize("group", [
    "_symmetry.Int_Tables_number 96", "_space_group.IT_number 96",
    "loop_\n_symmetry_equiv.id\n_symmetry_equiv.pos_as_xyz\n" + "\n".join(
        f"{n} '{op.triplet().upper()}'"
        for n, op in enumerate(gemmi.SpaceGroup("P 43 21 2").operations()))])
def test_mmcif_whose_space_group_has_no_name(group, data, tmp_path):
    reflections, f, phi = data
    rows = [f"{x:.3f} {0.1 * x:.3f} {p:.3f} 0.7" for x, p in zip(f, phi)]
    (tmp_path / "a.cif").write_text("data_a\n" + refln(
        reflections, "F_meas_au F_meas_sigma_au phase_meas fom", rows, group))
    assert read_phased(tmp_path / "a.cif").data.reflections.spacegroup.hm == "P 43 21 2"


def test_mmcif_of_squares_with_flags_in_several_blocks(data, tmp_path, caplog):
    """The first block is taken, which is said; F squared are intensities; status tells the free set."""
    reflections, f, phi = data
    free = np.arange(len(f)) % 10 == 0
    rows = [f"{'f' if flag else 'o'} {x * x:.4f} {0.05 * x * x + 0.01:.4f} {p:.2f} 0.7"
            for flag, x, p in zip(free, f, phi)]
    block = refln(reflections, "status F_squared_meas F_squared_sigma phase_meas fom", rows)
    (tmp_path / "a.cif").write_text(f"data_native\n{block}data_peak\n{block}")
    got = read_phased(tmp_path / "a.cif")
    assert "taken is the first, native; there is also peak" in caplog.text
    strong = f > np.median(f)
    assert np.allclose(got.data.f[strong], f[strong], rtol=0.02)
    assert set_aside(got, "FreeR_flag")[1].n == free.sum()


def test_phs_needs_the_crystal_beside_it(data, tmp_path, caplog):
    reflections, f, phi = data
    path = tmp_path / "shelxe.phs"
    path.write_text("".join("".join(f"{i:4d}" for i in hkl)
                            + f"{x:9.3f}{0.7:8.4f}{p:8.2f}{0.1 * x:8.2f}\n"
                            for hkl, x, p in zip(reflections.hkl, f, phi)))
    with pytest.raises(InputError, match="cell and space group.*shelxe.ins, shelxe.*pdb"
                       .replace(".ins", ".res")):
        read_phased(path)
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = reflections.cell, reflections.spacegroup.hm
    structure.write_pdb(str(tmp_path / "shelxe.pdb"))
    got = read_phased(path)
    assert got.labels == {"fo": "F,SIGF", "phifom": "PHI,FOM"}
    assert np.allclose(got.data.coefficients, 0.7 * f * np.exp(1j * np.deg2rad(phi)), atol=0.05)
    assert "shelxe.pdb" in caplog.text


@pytest.mark.parametrize("mates", [False, True])
def test_scalepack(mates, data, tmp_path):
    reflections, f, _ = data
    rows = ""
    for hkl, x in zip(reflections.hkl, f):
        rows += "".join(f"{i:4d}" for i in hkl) + f"{x ** 2:8.1f}{0.02 * x ** 2:8.1f}"
        rows += f"{1.1 * x ** 2:8.1f}{0.02 * x ** 2:8.1f}\n" if mates else "\n"
    path = tmp_path / "a.sca"
    path.write_text("    1\n -987\n" + "".join(f"{v:10.3f}" for v in reflections.cell.parameters)
                    + " p43212\n" + rows)
    if not mates:
        with pytest.raises(InputError, match="no phases"):
            read_phased(path)
        return
    _, got, labels = read_anomalous(path)
    assert labels == {"ipm": "I(+),SIGI(+),I(-),SIGI(-)"}
    strong = f > 5
    assert np.allclose(got.f_plus[strong], f[strong], rtol=0.03)


@pytest.mark.parametrize("name, text", [
    ("a.cif", "data_x\n_cell.length_a 10\n"), ("a.cif", "nothing"), ("a.phs", "x y z\n"),
    ("a.sca", "1\n"), ("a.sca", "1\n-987\n 10 10 10 90 90 90\n")])
def test_other_files_are_refused(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        read_phased(tmp_path / name)
