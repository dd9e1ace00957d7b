"""Columns are taken for what they mean: conventions of programs, order, datasets, signs."""

import logging

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.crystal.phases import angle_degrees, hl_from_phi_fom, phase_difference
from crank2_unet.errors import InputError
from crank2_unet.files.mtz import MtzFile
from crank2_unet.files.mtz_input import mates_of, read_anomalous, read_phased
from crank2_unet.files.mtz_output import write_mtz, write_phased


@pytest.fixture(scope="module")
def data():
    """Reflections and every kind of column: the map is right, the difference map is noise."""
    reflections = crystal("P 1 21 1", 4.0)
    true, noise = (random_coefficients(reflections, seed) for seed in (0, 1))
    f, phi = np.abs(true), np.rad2deg(np.angle(true)) % 360
    hl = hl_from_phi_fom(phi, np.full(len(f), 0.7), reflections.allowed_phase)
    values = {"F": f, "SIG": 0.1 * f, "I": f ** 2, "SIGI": 0.2 * f ** 2, "PHI": phi,
              "FOM": np.full(len(f), 0.7), "DF": np.abs(noise),
              "DPHI": np.rad2deg(np.angle(noise)) % 360,
              **dict(zip("ABCD", hl.T)), "0": 0 * f, "PLUS": f, "MINUS": np.where(
                  reflections.centric, f, 1.1 * f)}
    return reflections, true, values


def write(path, data, columns, change=None):
    """An MTZ file of "LABEL:TYPE=value" items; "/crystal/dataset" begins a dataset."""
    reflections, _, values = data
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(reflections.cell)
    table = [reflections.hkl]
    items = columns.split()
    for item in items if items[0].startswith("/") else ["/x/d", *items]:
        if item.startswith("/"):
            crystal_name, dataset_name = item[1:].split("/")
            mtz.add_dataset(dataset_name).crystal_name = crystal_name
            mtz.datasets[-1].cell = reflections.cell
            continue
        label, rest = item.rsplit(":", 1)
        mtz.add_column(label, rest[0])
        scale, name = (rest[2:].split("*") if "*" in rest else (1, rest[2:]))
        table.append(float(scale) * values[name])
    mtz.set_data(np.column_stack(table).astype(np.float32))
    if change:
        change(mtz)
    mtz.write_to_file(str(path))
    return path


REFMAC = ("FREE:I=0 FP:F=F SIGFP:Q=SIG FC:F=F PHIC:P=PHI FC_ALL:F=F PHIC_ALL:P=PHI FWT:F=F PHWT:P=PHI "
          "DELFWT:F=DF PHDELWT:P=DPHI FOM:W=FOM FC_ALL_LS:F=F PHIC_ALL_LS:P=PHI")


@pytest.mark.parametrize("program, columns, labels", [
    ("Refmac", REFMAC, {"fc": "FWT,PHWT", "fo": "FP,SIGFP"}),
    ("BUSTER", "F:F=F SIGF:Q=SIG FOM:W=FOM 2FOFCWT:F=F PH2FOFCWT:P=PHI FOFCWT:F=DF PHFOFCWT:P=DPHI "
     "FC:F=F PHIC:P=PHI", {"fc": "2FOFCWT,PH2FOFCWT", "fo": "F,SIGF"}),
    ("phenix.refine", "F-obs:F=F SIGF-obs:Q=SIG F-model:F=F PHIF-model:P=PHI 2FOFCWT:F=F "
     "PH2FOFCWT:P=PHI 2FOFCWT_no_fill:F=F PH2FOFCWT_no_fill:P=PHI FOFCWT:F=DF PHFOFCWT:P=DPHI "
     "ANOM:F=DF PANOM:P=DPHI",
     {"fc": "2FOFCWT,PH2FOFCWT", "fo": "F-obs,SIGF-obs"}),
    ("Phaser", "FP:F=F SIGFP:Q=SIG FLLG_XE:F=DF PHLLG_XE:P=DPHI FWT:F=F PHWT:P=PHI DELFWT:F=DF "
     "PHDELWT:P=DPHI", {"fc": "FWT,PHWT", "fo": "FP,SIGFP"}),
    ("Parrot", "F:F=F SIGF:Q=SIG parrot.F_phi.F:F=F parrot.F_phi.phi:P=PHI",
     {"fc": "parrot.F_phi.F,parrot.F_phi.phi", "fo": "F,SIGF"}),
    ("order", "PHDELWT:P=DPHI DELFWT:F=DF PHWT:P=PHI SIGF:Q=SIG FWT:F=F F:F=F",
     {"fc": "FWT,PHWT", "fo": "F,SIGF"}),
    ("ISOLDE", "2FOFCWT:F=F PH2FOFCWT:P=PHI 2FOFCWT_sharp:F=DF PH2FOFCWT_sharp:P=DPHI FOFCWT:F=DF "
     "PHFOFCWT:P=DPHI", {"fc": "2FOFCWT,PH2FOFCWT"}),
    ("pandas", "F:R=F SIGF:R=SIG FWT:R=F PHWT:R=PHI", {"fc": "FWT,PHWT", "fo": "F,SIGF"}),
    ("cctbx", "Fobs:F=F SIGFobs:Q=SIG F-model:F=F PHIF-model:P=PHI",
     {"fc": "F-model,PHIF-model", "fo": "Fobs,SIGFobs"}),
])
def test_the_map_is_taken_by_its_name(program, columns, labels, data, tmp_path):
    got = read_phased(write(tmp_path / "a.mtz", data, columns), need_phases=False)
    assert got.labels == labels
    assert np.allclose(got.data.coefficients, data[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("program, columns, labels", [
    ("f2mtz of SHELXE", "F:F=F FOM:W=FOM PHI:P=PHI SIGF:Q=SIG", {"phifom": "PHI,FOM"}),
    ("SHARP", "FP:F=F SIGFP:Q=SIG FBsha:F=F PHIBsha:P=PHI FOMsha:W=FOM DELF:F=DF PHDELF:P=DPHI",
     {"phifom": "PHIBsha,FOMsha"}),
    ("AutoSol", "FP:F=F SIGFP:Q=SIG PHIM:P=PHI FOMM:W=FOM HLAM:A=A HLBM:A=B HLCM:A=C HLDM:A=D FWT:F=F "
     "PHWT:P=DPHI", {"hl": "HLAM,HLBM,HLCM,HLDM"}),
    ("RESOLVE", "FP:F=F SIGFP:Q=SIG PHIM:P=PHI FOMM:W=FOM FWT:F=F PHWT:P=DPHI",
     {"phifom": "PHIM,FOMM"}),
    ("dm", "FP:F=F SIGFP:Q=SIG PHIDM:P=PHI FOMDM:W=FOM DELFWT:F=DF PHDELWT:P=DPHI",
     {"phifom": "PHIDM,FOMDM"}),
    ("Phaser", "F:F=F SIGF:Q=SIG PHIB:P=PHI DELFWT:F=DF PHDELWT:P=DPHI FOM:W=FOM",
     {"phifom": "PHIB,FOM"}),
    ("order", "HLD:A=D HLB:A=B HLA:A=A HLC:A=C SIGF:Q=SIG F:F=F", {"hl": "HLA,HLB,HLC,HLD"}),
    ("Clipper", "c.F_sigF.F:F=F c.F_sigF.sigF:Q=SIG c.Phi_fom.phi:P=PHI c.Phi_fom.fom:W=FOM",
     {"phifom": "c.Phi_fom.phi,c.Phi_fom.fom"}),
    ("zero HL", "F:F=F SIGF:Q=SIG HLA:A=0 HLB:A=0 HLC:A=0 HLD:A=0 PHIB:P=PHI FOM:W=FOM",
     {"phifom": "PHIB,FOM"}),
    ("zero HL of two", "F:F=F SIGF:Q=SIG HLA:A=0 HLB:A=0 HLC:A=0 HLD:A=0 HLA_2:A=A HLB_2:A=B HLC_2:A=C "
     "HLD_2:A=D", {"hl": "HLA_2,HLB_2,HLC_2,HLD_2"}),
    ("sigma of DANO", "F:F=F DANO:D=0 SIGDANO:Q=0 SIGF:Q=SIG PHIB:P=PHI FOM:W=FOM",
     {"phifom": "PHIB,FOM"}),
])
def test_the_phase_is_that_of_the_amplitudes(program, columns, labels, data, tmp_path):
    got = read_phased(write(tmp_path / "a.mtz", data, columns))
    assert {role: text for role, text in got.labels.items() if role != "fo"} == labels
    assert phase_difference(np.rad2deg(np.angle(got.data.coefficients)), data[2]["PHI"]).max() < 0.1
    assert np.allclose(got.data.sigf, data[2]["SIG"], rtol=1e-4)


def test_a_fom_that_may_belong_to_several_phases_is_asked_for(data, tmp_path):
    path = write(tmp_path / "a.mtz", data, REFMAC)
    with pytest.raises(InputError, match=r"--colin-phifom '/x/d/\[PHIC,FOM\]'") as error:
        read_phased(path)
    assert "PHDELWT,FOM" not in str(error.value)
    got = read_phased(path, colin_phifom="/x/d/[PHIC,FOM]")
    assert phase_difference(np.rad2deg(np.angle(got.data.coefficients)), data[2]["PHI"]).max() < 0.1


def test_a_difference_map_is_taken_only_if_it_is_named(data, tmp_path, caplog):
    path = write(tmp_path / "a.mtz", data, "DELFWT:F=DF PHDELWT:P=DPHI")
    with pytest.raises(InputError, match="no observed amplitudes"):
        read_phased(path, need_phases=False)
    read_phased(path, colin_fc="DELFWT,PHDELWT", need_phases=False)
    assert "difference map" in caplog.text


def test_differences_between_data_sets_are_no_map(data, tmp_path):
    path = write(tmp_path / "a.mtz", data, "F_off:F=F SigF_off:Q=SIG F_on:F=F SigF_on:Q=SIG "
                 "DF:F=DF SigDF:Q=SIG W:W=FOM WDF:F=DF PHIFMODEL:P=PHI")
    with pytest.raises(InputError, match=r"has 2 sets of observed amplitudes: .*F_off.* and .*F_on"):
        read_phased(path, need_phases=False)


@pytest.mark.parametrize("columns", ["F(+):G=PLUS SIGF(+):L=SIG F(-):G=MINUS SIGF(-):L=SIG",
                                     "Iplus:K=I SIGIplus:M=SIGI Iminus:K=I SIGIminus:M=SIGI"])
def test_mates_without_a_mean_are_told_from_nothing(columns, data, tmp_path):
    path = write(tmp_path / "a.mtz", data, f"{columns} HLA:A=A HLB:A=B HLC:A=C HLD:A=D")
    with pytest.raises(InputError, match="Friedel mates, /x/d/.* but no mean of them"):
        read_phased(path)


# as written by ctruncate, the CCP4 examples of RNase and of toxin d, and sftools
@pytest.mark.parametrize("f, sigf, dano, sig_dano", [
    ("F", "SIGF", "DANO", "SIGDANO"), ("FMEAN", "SIGFMEAN", "DANO", "SIGDANO"),
    ("F_peak", "SIGF_peak", "DANO_peak", "SIGDANO_peak"), ("FHG2", "SDFHG2", "FHG2DEL", "SDFHG2DEL"),
    ("FPT", "SIGFPT", "DELFPT", "SIGDELFPT"), ("FAU20", "SIGFAU20", "ANAU20", "SIGANAU20"),
    ("FP", "SIGFP", "DP", "SIGDP")])
def test_mates_are_made_of_amplitudes_and_their_differences(f, sigf, dano, sig_dano, data, tmp_path,
                                                            caplog):
    reflections, _, values = data
    plus, minus = values["PLUS"], values["MINUS"]
    both = (reflections, None, {**values, "MEAN": (plus + minus) / 2, "DANO": plus - minus})
    path = write(tmp_path / "a.mtz", both, f"{f}:F=MEAN {sigf}:Q=SIG {dano}:D=DANO {sig_dano}:Q=2*SIG "
                 "/nat/n FNAT:F=DF SIGFNAT:Q=SIG")
    file, read, labels = read_anomalous(path)
    assert labels == {"fdano": f"{f},{sigf},{dano},{sig_dano}"}
    assert mates_of(file, labels).labels == (f, sigf, dano, sig_dano)
    assert f"Friedel mates are made of /x/d/[{f}," in caplog.text
    acentric = ~reflections.centric
    np.testing.assert_allclose(read.f_plus, plus, rtol=1e-5)
    np.testing.assert_allclose(read.f_minus[acentric], minus[acentric], rtol=1e-5)
    # independent errors of the mates: that of the difference is twice that of the mean
    np.testing.assert_allclose(read.sigf_plus[acentric], 2 ** 0.5 * values["SIG"][acentric], rtol=1e-5)


def test_an_amplitude_without_a_difference_is_one_mate(data, tmp_path):
    reflections, _, values = data
    known = np.arange(len(reflections)) % 3 > 0
    some = (reflections, None, {**values, "DANO": np.where(known, 0.1 * values["F"], np.nan),
                                "SIGD": np.where(known, values["SIG"], 0.0)})
    _, read, _ = read_anomalous(write(tmp_path / "a.mtz", some, "F:F=F SIGF:Q=SIG DANO:D=DANO "
                                      "SIGDANO:Q=SIGD"))
    np.testing.assert_allclose(read.f_plus[~known], values["F"][~known], rtol=1e-5)
    assert np.isnan(read.f_minus[~known]).all()
    assert np.isfinite(read.f_minus[known & ~reflections.centric]).all()


DIFFERENCES = ("/nat/n FNAT:F=DF SIGFNAT:Q=SIG /hg/h FHG:F=F SIGFHG:Q=SIG DANOHG:D=0 SIGDANOHG:Q=SIG "
               "/pt/p FPT:F=F SIGFPT:Q=SIG DANOPT:D=SIG SIGDANOPT:Q=SIG")


def test_of_several_differences_one_is_chosen(data, tmp_path):
    path = write(tmp_path / "a.mtz", data, DIFFERENCES)
    with pytest.raises(InputError, match="2 sets of amplitudes with anomalous differences: "
                                         r".*Choose with --colin-fdano '/hg/h/\[FHG,"):
        read_anomalous(path)
    named = "FPT,SIGFPT,DANOPT,SIGDANOPT"
    assert read_anomalous(path, colin_fdano=named)[2] == {"fdano": named}
    with pytest.raises(InputError, match="--colin-fpm and --colin-fdano name .* of 2 kinds"):
        read_anomalous(path, colin_fpm="A,B,C,D", colin_fdano=named)


def test_differences_of_no_known_amplitude_are_not_guessed(data, tmp_path):
    path = write(tmp_path / "a.mtz", data, "FA:F=F SIGFA:Q=SIG FB:F=DF SIGFB:Q=SIG DANO:D=0 "
                 "SIGDANO:Q=SIG")
    with pytest.raises(InputError, match="no mean amplitude with an anomalous difference of its own"):
        read_anomalous(path)


@pytest.mark.parametrize("other, said", [("/i/i FI:F=F SIGFI:Q=SIG DANOI:D=DF SIGDANOI:Q=SIG", True),
                                         ("FI:F=F SIGFI:Q=SIG DANOI:D=DF SIGDANOI:Q=SIG", False)])
def test_differences_of_another_crystal_beside_mates_are_said(other, said, data, tmp_path, caplog):
    path = write(tmp_path / "a.mtz", data, "/pt/p F(+):G=PLUS SIGF(+):L=SIG F(-):G=MINUS SIGF(-):L=SIG "
                 + other)
    assert read_anomalous(path)[2] == {"fpm": "F(+),SIGF(+),F(-),SIGF(-)"}
    assert ("there is also /i/i/[FI," in caplog.text) is said


@pytest.mark.parametrize("columns, said", [("F:F=F FOM:W=FOM PHI:P=PHI", True), (REFMAC, False),
                                           ("F:F=F FOM:W=FOM PHI:P=PHI SIGF:Q=SIG", False)])
def test_a_figure_of_merit_that_is_not_applied_is_said(columns, said, data, tmp_path, caplog):
    read_phased(write(tmp_path / "a.mtz", data, columns), need_phases=False)
    assert ("is taken as a map as it is, without FOM" in caplog.text) is said


def test_what_was_not_chosen_is_said(data, tmp_path, caplog):
    read_phased(write(tmp_path / "a.mtz", data, REFMAC), need_phases=False)
    assert "taken as map coefficients is /x/d/[FWT,PHWT]" in caplog.text
    assert "[DELFWT,PHDELWT] (difference map)" in caplog.text


TWO = ("/nat/n F:F=DF SIGF:Q=SIG PHIB:P=DPHI FOM:W=FOM F(+):G=MINUS SIGF(+):L=SIG F(-):G=PLUS "
       "SIGF(-):L=SIG /xe/x F:F=F SIGF:Q=SIG PHIB:P=PHI FOM:W=FOM F(+):G=PLUS SIGF(+):L=SIG "
       "F(-):G=MINUS SIGF(-):L=SIG")


def two_crystals(mtz):
    mtz.datasets[1].wavelength, mtz.datasets[2].wavelength = 1.54, 0.98
    mtz.datasets[2].cell = gemmi.UnitCell(*(x * 1.02 if x < 60 else x for x in mtz.cell.parameters))


def test_crystal_and_dataset_choose_and_bring_their_cell(data, tmp_path, caplog):
    path = write(tmp_path / "a.mtz", data, TWO, two_crystals)
    with pytest.raises(InputError, match=r"/nat/n/\[F,SIGF\] and /xe/x/\[F,SIGF\]"):
        read_phased(path)
    for text in ("/xe/x/[F,SIGF]", "/*/x/[F,SIGF]", "x/[F,SIGF]"):
        got = read_phased(path, colin_fo=text, colin_phifom="/xe/x/[PHIB,FOM]")
        assert np.allclose(got.data.f, data[2]["F"], rtol=1e-4)
    assert got.labels["fo"] == "/xe/x/[F,SIGF]"
    assert got.data.reflections.cell.a == pytest.approx(1.02 * data[0].cell.a)
    assert "several unit cells" in caplog.text
    with pytest.raises(InputError, match="no dataset /a/b. It has /nat/n, /xe/x"):
        read_phased(path, colin_fo="/a/b/[F,SIGF]")
    with pytest.raises(InputError, match="2 datasets.*--colin-fo '/nat/n"):
        read_phased(path, colin_fo="F,SIGF")
    _, mates, _ = read_anomalous(path, "/xe/x/[F(+),SIGF(+),F(-),SIGF(-)]")
    assert mates.wavelength == pytest.approx(0.98)
    acentric = ~data[0].centric
    assert (mates.f_plus < mates.f_minus)[acentric].all()


def test_results_go_into_the_dataset_of_the_columns_read(data, tmp_path):
    path = write(tmp_path / "a.mtz", data, TWO.replace("/xe", "/last").replace("/nat", "/xe"))
    got = read_phased(path, colin_fo="/xe/n/[F,SIGF]", colin_phifom="/xe/n/[PHIB,FOM]")

    class Modified:
        coefficients, hl = got.data.coefficients, got.data.hl
        fom = np.ones(len(hl))
    names = write_phased(tmp_path / "o.mtz", got, Modified)
    out = gemmi.read_mtz_file(str(tmp_path / "o.mtz"))
    assert out.column_with_label(names["FWT"]).dataset.crystal_name == "xe"


@pytest.mark.parametrize("base", ["HKL_base", "only"])
def test_the_first_dataset_is_kept(base, data, tmp_path):
    """Whether it is HKL_base or, as of phenix and old scala, one with data and nothing before it."""
    path = write(tmp_path / "a.mtz", data, "F:F=F SIGF:Q=SIG F(+):G=PLUS SIGF(+):L=SIG F(-):G=MINUS "
                 "SIGF(-):L=SIG PHIB:P=PHI FOM:W=FOM")
    mtz = gemmi.read_mtz_file(str(path))
    first = gemmi.Mtz()
    first.spacegroup, first.cell = mtz.spacegroup, mtz.cell
    added = first.add_dataset(base)
    added.id, added.crystal_name, added.wavelength = int(base == "only"), "c", 0.98
    for column in mtz.columns:
        first.add_column(column.label, column.type, dataset_id=added.id)
    first.set_data(mtz.array)
    first.write_to_file(str(path))
    got = read_phased(path)
    write_mtz(tmp_path / "b.mtz", got.file, got.data.reflections, {}, "test")
    assert read_anomalous(tmp_path / "b.mtz")[1].wavelength == pytest.approx(0.98)
    home = MtzFile(tmp_path / "b.mtz").columns[0]
    assert (home.crystal, home.dataset) == (("c", "only") if base == "only" else ("HKL_base",) * 2)


@pytest.mark.parametrize("labels", ["F(+) SIGF(+) F(-) SIGF(-)", "F+ SIGF+ F- SIGF-", "F_sigF_anom.F+ "
                                    "F_sigF_anom.sigF+ F_sigF_anom.F- F_sigF_anom.sigF-", "F_plus "
                                                                                          "SIGF_plus "
                                                                                          "F_minus "
                                                                                          "SIGF_minus",
                                    "Fpos SIGFpos Fneg SIGFneg", "a b c d"])
@pytest.mark.parametrize("reverse", [False, True])
def test_mates_are_exchanged_by_what_they_are(labels, reverse, data, tmp_path):
    """Half of the rows have the index -h, -k, -l, so that F(-) is F(+) of the asymmetric unit."""
    names = labels.split()
    values = dict(zip(names, ("G=PLUS", "L=SIG", "G=MINUS", "L=SIG")))
    order = names if not reverse or names == list("abcd") else names[::-1]

    def turn(mtz):
        table = np.array(mtz.array)
        table[::2, :3] *= -1
        plus, minus = (3 + order.index(names[i]) for i in (0, 2))
        table[::2, [plus, minus]] = table[::2, [minus, plus]]
        mtz.set_data(table)
    path = write(tmp_path / "a.mtz", data, " ".join(f"{n}:{values[n]}" for n in order), turn)
    _, got, _ = read_anomalous(path)
    assert np.allclose(got.f_plus, data[2]["PLUS"], rtol=1e-4)
    acentric = ~data[0].centric
    assert np.allclose(got.f_minus[acentric], data[2]["MINUS"][acentric], rtol=1e-4)


def test_hendrickson_lattman_turn_in_any_order(data, tmp_path):
    def turn(mtz):
        table = np.array(mtz.array)
        table[::2, :3] *= -1
        for label in "BD":
            table[::2, mtz.column_with_label(f"HL{label}").idx] *= -1
        mtz.set_data(table)
    path = write(tmp_path / "a.mtz", data, "F:F=F SIGF:Q=SIG HLD:A=D HLA:A=A HLC:A=C HLB:A=B", turn)
    got = read_phased(path).data.hl
    assert np.allclose(got, np.stack([data[2][x] for x in "ABCD"], axis=1), atol=1e-3)


def test_intensities_become_amplitudes(data, tmp_path, caplog):
    for number, columns in enumerate(("IMEAN:J=I SIGIMEAN:Q=SIGI", "I:F=I SIGI:Q=SIGI",
                                      "I:R=I SIGI:R=SIGI")):
        path = write(tmp_path / f"{number}.mtz", data, columns + " PHIB:P=PHI FOM:W=FOM")
        for text in (None, columns.split(":")[0] + ",SIG" + columns.split(":")[0]):
            caplog.clear()
            got = read_phased(path, colin_fo=text)
            assert "intensities" in caplog.text and "French" in caplog.text
            assert np.median(np.abs(got.data.f / data[2]["F"] - 1)) < 0.03


def test_amplitudes_spread_like_intensities_are_doubted(data, tmp_path, caplog):
    read_phased(write(tmp_path / "a.mtz", data, "F:F=I SIGF:Q=SIGI PHIB:P=PHI FOM:W=FOM"))
    assert "spread like intensities" in caplog.text


def test_the_missing_number_flag_is_missing(data, tmp_path):
    def flag(mtz):
        mtz.valm = -999.0
        table = np.array(mtz.array)
        table[::5, 3:5] = -999.0
        mtz.set_data(table)
    got = read_phased(write(tmp_path / "a.mtz", data, "F:F=F SIGF:Q=SIG PHIB:P=PHI FOM:W=FOM", flag))
    assert np.isnan(got.data.f[::5]).all() and np.isfinite(got.data.f[1::5]).all()


def test_indices_may_stand_anywhere(data, tmp_path, caplog):
    path = write(tmp_path / "a.mtz", data, "F:F=F SIGF:Q=SIG PHIB:P=PHI FOM:W=FOM")
    first = gemmi.read_mtz_file(str(path))
    order = [3, 2, 4, 0, 5, 1, 6]
    out = gemmi.Mtz()
    out.spacegroup = first.spacegroup
    out.add_dataset("HKL_base")
    out.add_dataset("d")
    out.set_cell_for_all(first.cell)
    for i in order:
        out.add_column(first.columns[i].label, first.columns[i].type, dataset_id=1)
    out.set_data(np.ascontiguousarray(first.array[:, order]))
    out.write_to_file(str(tmp_path / "b.mtz"))
    for change in (read_phased(path), read_phased(tmp_path / "b.mtz")):
        assert np.allclose(change.data.coefficients, 0.7 * data[1], rtol=2e-3)


def test_operators_against_the_name(data, tmp_path):
    path = write(tmp_path / "a.mtz", data, "F:F=F SIGF:Q=SIG PHIB:P=PHI FOM:W=FOM")
    content = path.read_bytes()
    changed = content.replace(b"SYMM -X,Y+1/2,-Z", b"SYMM -X,Y,-Z    ")
    assert changed != content
    path.write_bytes(changed)
    with pytest.raises(InputError, match='named "P 1 21 1".*those of P 1 2 1 '):
        MtzFile(path)


def test_no_choice_no_words(data, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    read_phased(write(tmp_path / "a.mtz", data, "F:F=F SIGF:Q=SIG PHIB:P=PHI FOM:W=FOM"))
    assert not caplog.text


@pytest.mark.parametrize("labels, phases, said", [
    ("FC_ALL,PHIC_ALL", "same", "FC_ALL,PHIC_ALL"), ("FC_ALL,PHIC_ALL", "other", None),
    ("FC,PHIC", "opposite", "FC,PHIC"), ("DELFWT,PHDELWT", "opposite", "DELFWT,PHDELWT"),
    ("DELFWT,PHDELWT", "substructure", None), ("DELFWT,PHDELWT", "other", None),
    ("FWT,PHWT", "same", None)])
def test_phases_of_a_model_are_recognised(labels, phases, said, tmp_path):
    """"opposite": 2mFo-DFc of a model has the opposite sign where mFo is small, in wrong ones often;
    "substructure": after SAD phasing, mFo-DFc differs from mFo by what a few atoms scatter."""
    reflections = crystal("P 21 21 21", 3.0)
    model = random_coefficients(reflections)
    given = {"same": model, "opposite": np.where(np.arange(len(model)) % 4, model, -model),
             "substructure": model + 0.1 * random_coefficients(reflections, 6),
             "other": random_coefficients(reflections, 5)}[phases]
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(reflections.cell)
    mtz.add_dataset("test")
    for label, kind in zip(("FP", "SIGFP", "PHIB", "FOM", *labels.split(",")), "FQPWFP"):
        mtz.add_column(label, kind)
    f = np.abs(given)
    mtz.set_data(np.column_stack(
        [reflections.hkl, f, 0.1 * f, angle_degrees(given), np.full(len(f), 0.5), np.abs(model),
         angle_degrees(model)]).astype(np.float32))
    mtz.write_to_file(str(tmp_path / "in.mtz"))
    assert read_phased(tmp_path / "in.mtz", colin_phifom="PHIB,FOM").model == said
