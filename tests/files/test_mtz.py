"""Columns are found or asked for, bad files are refused, and what is written reads back."""

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.crystal.phases import hl_from_phi_fom, phase_difference
from crank2_unet.errors import InputError
from crank2_unet.files.mtz import MtzFile
from crank2_unet.files.mtz_input import read_anomalous, read_phased
from crank2_unet.files.mtz_output import append_columns, write_mtz


@pytest.fixture(scope="module")
def phased():
    """Reflections, true structure factors, amplitudes with gaps, and phases in HL form."""
    reflections = crystal("P 1 21 1", 4.0)
    true = random_coefficients(reflections)
    f = np.abs(true)
    f[::17] = np.nan
    phi = np.rad2deg(np.angle(true)) % 360
    return reflections, true, f, hl_from_phi_fom(phi, np.full(len(f), 0.7),
                                                 reflections.allowed_phase)


def write(path, reflections, columns, spacegroup=None):
    out = gemmi.Mtz(with_base=True)
    out.spacegroup = spacegroup or reflections.spacegroup
    out.set_cell_for_all(reflections.cell)
    out.add_dataset("test")
    for label, (kind, _) in columns.items():
        out.add_column(label, kind)
    out.set_data(np.column_stack([reflections.hkl, *(v for _, v in columns.values())])
                 .astype(np.float32))
    out.write_to_file(str(path))
    return path


def amplitudes(f, name="F"):
    return {name: ("F", f), "SIG" + name: ("Q", 0.1 * f)}


def hendrickson(hl, suffix=""):
    return {f"HL{x}{suffix}": ("A", v) for x, v in zip("ABCD", hl.T)}


def test_columns_are_found_by_type(phased, tmp_path):
    reflections, true, f, hl = phased
    path = write(tmp_path / "a.mtz", reflections, {**amplitudes(f, "FNAT"), **hendrickson(hl, "x")})
    got = read_phased(path)
    assert got.labels == {"fo": "FNAT,SIGFNAT", "hl": "HLAx,HLBx,HLCx,HLDx"}
    assert np.allclose(got.data.f, f, equal_nan=True, rtol=1e-5)
    known = np.isfinite(f)
    assert np.all(got.data.coefficients[~known] == 0)
    phi = np.rad2deg(np.angle(got.data.coefficients[known]))
    assert phase_difference(phi, np.rad2deg(np.angle(true[known]))).max() < 0.05
    assert np.allclose(np.abs(got.data.coefficients[known]), 0.7 * f[known], rtol=2e-3)


def test_phase_and_fom_in_either_order(phased, tmp_path):
    reflections, true, f, _ = phased
    phi, fom = np.rad2deg(np.angle(true)) % 360, np.full(len(f), 0.7)
    for number, extra in enumerate(({"PHIB": ("P", phi), "FOM": ("W", fom)},
                                    {"FOM": ("W", fom), "PHIB": ("P", phi)})):
        path = write(tmp_path / f"{number}.mtz", reflections, {**amplitudes(f), **extra})
        got = read_phased(path)
        assert got.labels["phifom"] == "PHIB,FOM"
        assert np.allclose(np.abs(got.data.coefficients), 0.7 * np.nan_to_num(f), rtol=2e-3)


def test_map_coefficients_come_first_for_a_mask_only(phased, tmp_path):
    reflections, true, f, hl = phased
    path = write(tmp_path / "a.mtz", reflections, {
        **amplitudes(f), **hendrickson(hl), "FWT": ("F", np.abs(true)),
        "PHWT": ("P", np.rad2deg(np.angle(true)))})
    got = read_phased(path, need_phases=False)
    assert got.labels == {"fc": "FWT,PHWT", "fo": "F,SIGF"}  # these tell the fall-off
    assert np.allclose(got.data.coefficients, true, rtol=1e-4, atol=1e-3)
    assert np.allclose(got.data.f, f, rtol=1e-4, equal_nan=True)
    named = read_phased(path, colin_fo="F,SIGF", colin_fc="FWT,PHWT", need_phases=False)
    assert named.labels == got.labels
    assert read_phased(path).labels == {"fo": "F,SIGF", "hl": "HLA,HLB,HLC,HLD"}
    both = read_phased(path, colin_fc="/*/*/[FWT,PHWT]")
    assert both.labels["fc"] == "FWT,PHWT" and np.any(both.data.hl)
    assert np.allclose(both.data.coefficients, true, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("sets", [0, 2])
def test_a_map_without_its_own_amplitudes(phased, tmp_path, sets):
    reflections, true, f, _ = phased
    columns = {f"{kind}_{n}": column for n in range(sets) for kind, column in amplitudes(f).items()}
    path = write(tmp_path / "a.mtz", reflections, {
        **columns, "FWT": ("F", np.abs(true)), "PHWT": ("P", np.rad2deg(np.angle(true)))})
    got = read_phased(path, need_phases=False)
    assert got.labels == {"fc": "FWT,PHWT"} and np.isnan(got.data.f).all()
    assert np.allclose(got.data.coefficients, true, rtol=1e-4, atol=1e-3)


def test_a_map_that_reaches_beyond_its_amplitudes_is_read_as_far_as_it_goes(phased, tmp_path):
    reflections, true, f, _ = phased
    far = reflections.d < 1.2 * reflections.d_min
    path = write(tmp_path / "a.mtz", reflections, {
        **amplitudes(np.where(far, np.nan, f)), "FWT": ("F", np.abs(true)),
        "PHWT": ("P", np.rad2deg(np.angle(true)))})
    got = read_phased(path, need_phases=False)
    assert len(got.data.f) == len(f) and np.isnan(got.data.f[far]).all()


def test_clipper_stem(phased, tmp_path):
    reflections, _, f, hl = phased
    columns = {**amplitudes(f), **{f"parrot.ABCD.{x}": ("A", v) for x, v in zip("ABCD", hl.T)}}
    got = read_phased(write(tmp_path / "a.mtz", reflections, columns), colin_hl="/*/*/parrot")
    assert got.labels["hl"].startswith("parrot.ABCD.A,")


def test_rows_outside_the_asymmetric_unit_are_moved(phased, tmp_path):
    """Friedel mates and symmetry copies carry conjugated and shifted phases."""
    reflections, true, f, hl = phased
    path = write(tmp_path / "a.mtz", reflections, {**amplitudes(f), **hendrickson(hl)})
    file = gemmi.read_mtz_file(str(path))
    data = np.array(file.array)
    data[::2, :3] *= -1  # Friedel mates: phase changes sign, so do B and D
    data[::2, [6, 8]] *= -1
    file.set_data(data)
    file.write_to_file(str(path))
    got = read_phased(path)
    assert np.allclose(got.data.hl, np.where(np.isfinite(f)[:, None], hl, 0), atol=1e-4)


def test_several_candidates_are_listed(phased, tmp_path):
    reflections, _, f, hl = phased
    path = write(tmp_path / "a.mtz", reflections,
                 {**amplitudes(f), **hendrickson(hl), **hendrickson(hl, "_B")})
    with pytest.raises(InputError, match=r"2 sets of Hend.*HLA,HLB,HLC,HLD\] and .*HLA_B.*--colin-hl"):
        read_phased(path)
    assert read_phased(path, colin_hl="HLA_B,HLB_B,HLC_B,HLD_B").labels["hl"].startswith("HLA_B")


@pytest.mark.parametrize("arguments, said", [
    ({"colin_fo": "FF,SIGF"}, r"no column FF \(did you mean F\?\)"),
    ({"colin_fo": "F"}, "no column F.F_sigF.F"),
    ({"colin_fo": "HLA,SIGF"}, "type A; --colin-fo needs type F"),
    ({"colin_hl": "HLA,HLB"}, "names 2 columns"),
])
def test_wrong_labels(phased, tmp_path, arguments, said):
    reflections, _, f, hl = phased
    path = write(tmp_path / "a.mtz", reflections, {**amplitudes(f), **hendrickson(hl)})
    with pytest.raises(InputError, match=said):
        read_phased(path, **arguments)


@pytest.mark.parametrize("make, said", [
    (lambda f, hl: {**amplitudes(f)}, "has no phases"),
    (lambda f, hl: {"FreeR_flag": ("I", 0 * hl[:, 0])}, "has no observed amplitudes"),
    (lambda f, hl: {**amplitudes(np.nan * f), **hendrickson(hl)}, "only 0 usable values"),
    (lambda f, hl: {**amplitudes(f), **hendrickson(np.nan * hl)}, "all missing or without weight"),
    (lambda f, hl: {**amplitudes(-f), **hendrickson(hl)}, "negative values"),
])
def test_useless_columns_are_refused(phased, tmp_path, make, said):
    reflections, _, f, hl = phased
    with pytest.raises(InputError, match=said):
        read_phased(write(tmp_path / "a.mtz", reflections, make(f, hl)))


def test_damaged_files_are_refused(phased, tmp_path):
    reflections, _, f, hl = phased
    good = write(tmp_path / "good.mtz", reflections, {**amplitudes(f), **hendrickson(hl)})
    content = good.read_bytes()
    for name, damaged in (("truncated", content[:len(content) // 2]), ("empty", b""),
                          ("text", b"not an MTZ file" * 100)):
        path = tmp_path / f"{name}.mtz"
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=name):
            read_phased(path)
    with pytest.raises(InputError, match="absent.mtz"):
        read_phased(tmp_path / "absent.mtz")


def test_unknown_space_group_and_duplicates_are_refused(phased, tmp_path):
    reflections, _, f, hl = phased
    path = write(tmp_path / "a.mtz", reflections, {**amplitudes(f), **hendrickson(hl)})
    content = path.read_bytes()
    assert content.count(b"'P 1 21 1'") == 1
    path.write_bytes(content.replace(b"'P 1 21 1'", b"'Q 7 77 7'"))
    with pytest.raises(InputError, match="unknown space group"):
        read_phased(path)
    path.write_bytes(content)
    file = gemmi.read_mtz_file(str(path))
    file.set_data(np.vstack([file.array, file.array[:3]]))
    file.write_to_file(str(path))
    with pytest.raises(InputError, match="several rows for one"):
        read_phased(path)


@pytest.mark.parametrize("header, wavelength", [(0.98, 0.98), (0.0, None), (9.999, None)])
def test_wavelengths_that_say_nothing(header, wavelength, phased, tmp_path):
    """9.999 Angstrom stands for none in the dataset HKL_base of CCP4."""
    reflections, _, f, _ = phased
    path = write(tmp_path / "f.mtz", reflections, {
        "F(+)": ("G", f), "SIGF(+)": ("L", 0.01 * f),
        "F(-)": ("G", 1.05 * f), "SIGF(-)": ("L", 0.01 * f)})
    mtz = gemmi.read_mtz_file(str(path))
    mtz.datasets[-1].wavelength = header
    mtz.write_to_file(str(path))
    assert read_anomalous(path)[1].wavelength == (wavelength and pytest.approx(wavelength))


def test_mates_from_amplitudes_and_intensities_agree(phased, tmp_path):
    reflections, _, f, _ = phased
    minus = np.where(reflections.centric, f, 1.05 * f)
    path = write(tmp_path / "f.mtz", reflections, {
        "F(+)": ("G", f), "SIGF(+)": ("L", 0.01 * f),
        "F(-)": ("G", minus), "SIGF(-)": ("L", 0.01 * minus)})
    _, data, labels = read_anomalous(path)
    assert labels == {"fpm": "F(+),SIGF(+),F(-),SIGF(-)"} and data.wavelength is None
    assert np.isnan(data.f_minus[reflections.centric]).all()
    path = write(tmp_path / "i.mtz", reflections, {
        "I(+)": ("K", f**2), "SIGI(+)": ("M", 0.02 * f**2),
        "I(-)": ("K", minus**2), "SIGI(-)": ("M", 0.02 * minus**2)})
    _, converted, labels = read_anomalous(path)
    assert "ipm" in labels
    assert np.allclose(converted.f_plus, data.f_plus, rtol=0.01, equal_nan=True)
    assert np.allclose(converted.f_minus, data.f_minus, rtol=0.01, equal_nan=True)
    with pytest.raises(InputError, match="neither"):
        read_anomalous(write(tmp_path / "n.mtz", reflections, amplitudes(f)))


def test_output_keeps_the_input_and_adds_rows(phased, tmp_path):
    reflections, true, f, hl = phased
    some = np.isfinite(f)
    path = write(tmp_path / "a.mtz", reflections,
                 {**amplitudes(f), **hendrickson(hl), "FWT": ("F", f), "PHWT": ("P", 0 * f),
                  "FreeR_flag": ("I", np.arange(len(f)) % 20)})
    file = gemmi.read_mtz_file(str(path))
    file.set_data(np.array(file.array)[some])
    file.write_to_file(str(path))
    given = read_phased(path)
    names = write_mtz(tmp_path / "out.mtz", given.file, given.data.reflections, {
        "FWT": ("F", np.abs(true)), "PHWT": ("P", np.rad2deg(np.angle(true)))}, "test")
    assert names == {"FWT": "FWT_2", "PHWT": "PHWT_2"}
    out = gemmi.read_mtz_file(str(tmp_path / "out.mtz"))
    assert out.column_labels() == given.file.mtz.column_labels() + ["FWT_2", "PHWT_2"]
    assert out.nreflections == len(reflections)
    again = read_phased(tmp_path / "out.mtz", colin_fc="FWT_2,PHWT_2", need_phases=False)
    assert np.allclose(again.data.coefficients, true, rtol=1e-4, atol=1e-3)
    kept = read_phased(tmp_path / "out.mtz")
    assert np.allclose(kept.data.f, given.data.f, equal_nan=True)
    assert np.allclose(kept.data.hl, given.data.hl)


@pytest.mark.parametrize("symbol", ["R 3:H", "R 3:R", "I 1 2 1", "P 61 2 2"])
def test_setting_of_the_space_group_is_kept(symbol, tmp_path):
    """Files name both settings of R 3 alike; their operators differ."""
    reflections = crystal(symbol, 4.0)
    true = random_coefficients(reflections)
    path = write(tmp_path / "a.mtz", reflections, {
        "F": ("F", np.abs(true)), "PHI": ("P", np.rad2deg(np.angle(true)))})
    data = read_phased(path, need_phases=False).data
    assert data.reflections.spacegroup.xhm() == symbol
    assert np.array_equal(data.reflections.hkl, reflections.hkl)
    assert np.allclose(data.coefficients, true, atol=1e-3)


def test_appended_columns_follow_the_rows_wherever_their_indices_are(tmp_path, phased):
    reflections, true, f, hl = phased
    phi = np.rad2deg(np.angle(true)) % 360
    columns = {**amplitudes(f), **hendrickson(hl), "FC": ("F", np.abs(true)), "PHIC": ("P", phi)}
    path = write(tmp_path / "standard.mtz", reflections, columns)
    other = gemmi.read_mtz_file(str(path))
    other.expand_to_p1()
    for column in ("HLA", "HLB", "HLC", "HLD"):
        other.column_with_label(column).array[:] = 0  # gemmi leaves these as they were
    copies = other.array[::-1]  # those outside the asymmetric unit come first
    unique = copies[np.unique(reflections_of(copies[:, :3], reflections), return_index=True)[1]]
    other.spacegroup = reflections.spacegroup
    other.set_data(unique.copy())
    assert np.mean(reflections.find(unique[:, :3]) < 0) > 0.5
    other.write_to_file(str(tmp_path / "elsewhere.mtz"))
    file = MtzFile(tmp_path / "elsewhere.mtz")
    new = {"FN": ("F", np.abs(true)), "PN": ("P", phi)}
    groups = [("new_crystal", "new_set", new), ("new_crystal", "new_set", hendrickson(hl, "N"))]
    append_columns(tmp_path / "out.mtz", file, reflections, groups, "test")
    out = gemmi.read_mtz_file(str(tmp_path / "out.mtz"))
    assert np.array_equal(out.make_miller_array(), unique[:, :3].astype(int))
    values = {c.label: c.array for c in out.columns}
    assert np.abs(values["FN"] - values["FC"]).max() < 1e-3
    assert phase_difference(values["PN"], values["PHIC"]).max() < 0.01
    assert out.dataset(out.column_with_label("PN").dataset_id).crystal_name == "new_crystal"
    # HL coefficients turn with the phase: read again they are the same over the asymmetric unit
    back = MtzFile(tmp_path / "out.mtz")
    again = np.stack([back.column(f"HL{x}N") for x in "ABCD"], axis=1)
    assert np.allclose(reflections.spread(back.hkl, again), hl, atol=1e-3)


def reflections_of(rows, reflections):
    """Number of the unique reflection of each row of any index."""
    asu = gemmi.ReciprocalAsu(reflections.spacegroup)
    operations = reflections.spacegroup.operations()
    return reflections.find(np.array([asu.to_asu(list(map(int, h)), operations)[0] for h in rows]))


def test_columns_that_exist_are_not_written_twice(tmp_path, phased):
    reflections, true, f, _ = phased
    file = MtzFile(write(tmp_path / "in.mtz", reflections, amplitudes(f)))
    with pytest.raises(InputError, match="already has a column F"):
        append_columns(tmp_path / "out.mtz", file, reflections,
                           [("a", "b", {"F": ("F", np.abs(true))})], "test")
    assert not list(tmp_path.glob("out*"))
