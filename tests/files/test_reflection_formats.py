"""mmCIF, .phs and Scalepack are read as MTZ files are."""

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.errors import InputError
from crank2_unet.files.mtz_input import read_anomalous, read_phased


@pytest.fixture(scope="module")
def data():
    reflections = crystal("P 43 21 2", 5.0)
    true = random_coefficients(reflections)
    return reflections, np.abs(true), np.rad2deg(np.angle(true)) % 360


def test_mmcif(data, tmp_path):
    reflections, f, phi = data
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    tags = ("index_h", "index_k", "index_l", "F_meas_au", "F_meas_sigma_au", "phase_meas", "fom")
    path = tmp_path / "r-sf.cif"
    path.write_text("data_r1abcsf\n" + "".join(
        f"_cell.{n} {v}\n" for n, v in zip(names, reflections.cell.parameters))
        + f"_symmetry.space_group_name_H-M '{reflections.spacegroup.hm}'\nloop_\n"
        + "".join(f"_refln.{tag}\n" for tag in tags) + "".join(
            f"{' '.join(map(str, hkl))} {x:.3f} {0.1 * x:.3f} {p:.3f} 0.7\n"
            for hkl, x, p in zip(reflections.hkl, f, phi)))
    got = read_phased(path)
    assert np.allclose(got.data.f, f, atol=2e-3)
    assert np.allclose(got.data.coefficients, 0.7 * f * np.exp(1j * np.deg2rad(phi)), atol=0.02)


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
