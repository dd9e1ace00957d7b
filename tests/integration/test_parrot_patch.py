"""The header of parrot_patch against the real Clipper, used as Parrot does but without Parrot."""

import os
import re
import shlex
import shutil
import struct
import subprocess
from pathlib import Path

import gemmi
import numpy as np
import pytest
from crystals import SETTINGS, crystal, random_coefficients

from crank2_unet.crystal.grids import density_map, like, resample

PATCH = Path(__file__).parents[2] / "parrot_patch"
SPACING = 2.5  # of the work map, Angstrom


def unavailable(reason):
    """Skip, or fail where CRANK2_UNET_CLIPPER says that a compiler and Clipper are installed."""
    (pytest.fail if os.environ.get("CRANK2_UNET_CLIPPER") else pytest.skip)(reason)


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """The compiled test program."""
    compiler = shlex.split(os.environ.get("CXX", "")) or [shutil.which("g++") or shutil.which("c++")]
    if None in compiler:
        unavailable("no C++ compiler (g++) for the header of parrot_patch")
    folder = tmp_path_factory.mktemp("parrot patch")

    def compile_file(source, *options):
        return subprocess.run([*compiler, *options, str(source), "-o", str(folder / source.stem),
                               "-lclipper-ccp4", "-lclipper-core"], capture_output=True, text=True)

    probe = folder / "probe.cpp"
    probe.write_text("#include <clipper/clipper-ccp4.h>\n"
                     "int main() { clipper::CCP4MAPfile file; return 0; }\n")
    if compile_file(probe).returncode:
        unavailable("no Clipper to compile with (Debian and Ubuntu: libclipper-dev)")
    source = PATCH / "tests" / "external_mask_driver.cpp"
    # C++98, since Parrot's own sources need no more
    done = compile_file(source, "-std=c++98", "-pedantic", "-Wall", "-Wextra", "-O1", f"-I{PATCH}")
    assert done.returncode == 0, done.stderr
    # Clipper's own headers may give warnings
    assert not re.search(r"external_mask.*warning", done.stderr), done.stderr
    return folder / source.stem


class Job:
    """A folder with a work map of a crystal, in which the driver runs."""

    def __init__(self, driver, folder, symbol):
        self.driver, self.folder = driver, folder
        (folder / "out dir").mkdir(parents=True)
        reflections = crystal(symbol, 2.5 * SPACING)
        self.work = density_map(reflections, random_coefficients(reflections), SPACING)
        self.low = crystal(symbol, 14.0)
        self.soft = self.soft_mask(SPACING)
        write(folder / "work.map", self.work.array, self.work)

    def soft_mask(self, spacing):
        """The same smooth weights in [0, 1], 1 = solvent, with the symmetry, on any grid."""
        density = density_map(self.low, random_coefficients(self.low, seed=1), spacing)
        return like(density, 1 / (1 + np.exp(-2 * density.array / density.array.std())))

    def write(self, array, name="mask.map", **how):
        write(self.folder / name, array, self.work, **how)

    def run(self, *options, solvent_content=0.5, cycles=1, own_is_new=True, stdin=None, status=0):
        """The log of a run with a status."""
        command = [self.driver, "work.map", "protein.map", str(solvent_content), str(cycles),
                   str(int(own_is_new)), *options]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, input=stdin)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def protein(self):
        """Protein weights at the points of the work map after the last run."""
        ccp4 = gemmi.read_ccp4_map(str(self.folder / "protein.map"))
        ccp4.grid.spacegroup = self.work.spacegroup  # a map file does not tell R 3:R from R 3:H
        ccp4.setup(float("nan"))
        assert ccp4.grid.shape == self.work.shape
        return ccp4.grid.array

    def error(self, *options, **how):
        """The one line that tells why a run failed."""
        lines = [line for line in self.run(*options, status=1, **how).splitlines() if "ERROR" in line]
        assert len(lines) == 1 and re.match(r"ERROR: -(mskin|mask-command)", lines[0]), lines
        assert not (self.folder / "protein.map").exists()
        return lines[0]


def triplets(spacegroup):
    return [op.triplet() for op in spacegroup.operations()]


def write(path, box, grid, start=(0, 0, 0), order=(2, 1, 3), mode=2, symops=None, ispg=None, cell=None):
    """A CCP4 map of the values `box`, (x, y, z) from `start` on, of a crystal.

    `order`: the axes of columns, rows and sections; `symops`: triplets, default those of the crystal.
    """
    symops = triplets(grid.spacegroup) if symops is None else symops
    axes = np.array(order) - 1
    records = "".join(op.upper().ljust(80) for op in symops).encode()
    header = struct.pack(
        "<10i6f3i3f2i", *np.array(box.shape)[axes], mode, *np.array(start)[axes], *grid.shape,
        *(cell or grid.unit_cell.parameters), *order, box.min(), box.max(), box.mean(),
        grid.spacegroup.number if ispg is None else ispg, len(records))
    header = header.ljust(208, b"\0") + b"MAP " + bytes([0x44, 0x41, 0, 0])
    values = np.ascontiguousarray(box.transpose(axes[::-1])).astype(np.int8 if mode == 0 else "<f4")
    path.write_bytes(header.ljust(1024, b"\0") + records + values.tobytes())


def wrapped(array, start, stop):
    """The box from `start` to `stop` (excluded) of a periodic array."""
    return array[np.ix_(*(np.arange(a, b) % n for a, b, n in zip(start, stop, array.shape)))]


@pytest.fixture
def job(driver, tmp_path):
    return Job(driver, tmp_path / "job dir", "P 21 21 21")


def protein_fraction(log):
    return float(re.search(r"protein ([\d.]+), solvent", log).group(1))


@pytest.mark.parametrize("symbol", list(SETTINGS))
def test_a_mask_of_any_form_lands_where_it_belongs(driver, tmp_path, symbol):
    job = Job(driver, tmp_path / "job dir", symbol)
    soft, binary = job.soft.array, (job.soft.array > 0.5).astype(np.float32)
    size = np.array(soft.shape)
    forms = {
        "whole cell": (soft, {}),
        "other axis order": (soft, {"order": (3, 1, 2)}),
        "third axis order": (soft, {"order": (1, 2, 3)}),
        "bytes": (binary, {"mode": 0}),
        "P1": (soft, {"symops": ["x,y,z"], "ispg": 1}),
        "no symmetry records": (soft, {"symops": []}),
        "more than the cell": (wrapped(soft, (-2, -3, -4), size + 1), {"start": (-2, -3, -4)}),
    }
    for form, (box, how) in forms.items():
        job.write(box, **how)
        log = job.run("-mskin", "mask.map")
        assert np.abs(job.protein() - (1 - (binary if form == "bytes" else soft))).max() < 1e-5, form
    assert "WARNING" not in log

    # what came out is the asymmetric unit as Clipper writes it: a file of that form must go in
    job.run("-mskin", "mask.map")
    shutil.move(job.folder / "protein.map", job.folder / "asu.map")
    # Clipper's asymmetric unit of R 3:R is the whole cell
    assert (job.folder / "asu.map").stat().st_size < soft.nbytes or symbol in ("P 1", "R 3:R")
    job.run("-mskin", "asu.map", "-mskin-one-is", "protein")
    assert np.abs(job.protein() - (1 - soft)).max() < 1e-5


@pytest.mark.parametrize("symbol", ["P 1 21 1", "P 21 21 21", "P 61 2 2", "I 2 3"])
def test_the_asymmetric_unit_as_gemmi_writes_it(driver, tmp_path, symbol):
    job = Job(driver, tmp_path / "job", symbol)
    ccp4 = gemmi.Ccp4Map()
    ccp4.grid = job.soft
    ccp4.update_ccp4_header(2, True)
    ccp4.set_extent(gemmi.find_asu_brick(job.work.spacegroup).get_extent())
    assert ccp4.grid.point_count < job.soft.point_count
    ccp4.write_ccp4_map(str(job.folder / "mask.map"))
    job.run("-mskin", "mask.map")
    assert np.abs(job.protein() - (1 - job.soft.array)).max() < 1e-5


@pytest.mark.parametrize("symbol", ["P 1 21 1", "P 61 2 2", "R 3:R", "F 4 3 2"])
@pytest.mark.parametrize("records", [True, False])
def test_other_grids_are_interpolated(driver, tmp_path, symbol, records):
    job = Job(driver, tmp_path / "job", symbol)
    coarse = job.soft_mask(3.4)
    assert all(a != b for a, b in zip(coarse.shape, job.work.shape))
    write(job.folder / "mask.map", coarse.array, coarse, symops=None if records else [])
    job.run("-mskin", "mask.map")
    expected = resample(coarse, job.work)
    expected.symmetrize_avg()  # linear interpolation on a hexagonal grid is not symmetric by itself
    assert np.abs(job.protein() - (1 - expected.array)).max() < 1e-4
    assert np.sqrt(((expected.array - job.soft.array) ** 2).mean()) < 0.08


def test_a_slightly_other_cell_is_accepted(job):
    stretched = [1.006 * x for x in job.work.unit_cell.parameters[:3]] + [90.5, 90.0, 90.0]
    job.write(job.soft.array, cell=stretched)
    job.run("-mskin", "mask.map")
    assert np.abs(job.protein() - (1 - job.soft.array)).max() < 1e-5


@pytest.mark.parametrize("value", ["soft", "mask", "prob"])
def test_one_is_protein_is_the_mask_upside_down(job, value):
    job.write(job.soft.array)
    job.write(1 - job.soft.array, "protein mask.map")
    first = job.run("-mskin", "mask.map", "-mskin-value", value, solvent_content=0.42)
    protein = job.protein()
    second = job.run("-mskin", "protein mask.map", "-mskin-value", value, "-mskin-one-is", "protein",
                     solvent_content=0.42)
    assert np.abs(job.protein() - protein).max() < 1e-5
    assert protein_fraction(first) == pytest.approx(protein_fraction(second), abs=1e-4)
    assert "1 is solvent" in first and "1 is protein" in second


def test_mask_is_cut_at_one_half(job):
    job.write(job.soft.array)
    log = job.run("-mskin", "mask.map", "-mskin-value", "mask")
    assert np.array_equal(job.protein(), job.soft.array <= 0.5)
    assert "cut at 0.5" in log


@pytest.mark.parametrize("solvent_content", [0.2, 0.5, 0.83])
def test_prob_is_cut_at_the_solvent_content(job, solvent_content):
    # logits do as well as probabilities: only the order counts
    logits = np.log(job.soft.array / (1 - job.soft.array))
    job.write(logits)
    log = job.run("-mskin", "mask.map", "-mskin-value", "prob", solvent_content=solvent_content)
    protein = job.protein()
    assert set(np.unique(protein)) == {0, 1}
    assert logits[protein == 1].max() <= logits[protein == 0].min() + 1e-4
    assert 1 - protein_fraction(log) == pytest.approx(solvent_content, abs=1e-3)
    assert "WARNING" not in log


def test_prob_with_a_plateau_says_that_it_misses_the_solvent_content(job):
    job.write(np.round(job.soft.array))
    log = job.run("-mskin", "mask.map", "-mskin-value", "prob", solvent_content=0.3)
    assert "many points share one value" in log
    assert np.array_equal(job.protein(), 1 - np.round(job.soft.array))


def test_soft_clips_a_slight_overshoot_only(job):
    job.write(1.6 * job.soft.array - 0.3)
    job.run("-mskin", "mask.map")
    assert np.abs(job.protein() - np.clip(1.3 - 1.6 * job.soft.array, 0, 1)).max() < 1e-5
    (job.folder / "protein.map").unlink()
    job.write(100 * job.soft.array)
    assert "no weights in 0..1" in job.error("-mskin", "mask.map")


def test_unknown_solvent_content_is_taken_from_the_mask(job):
    job.write(job.soft.array)
    log = job.run("-mskin", "mask.map", solvent_content=0)
    found = float(re.search(r"at the end: ([\d.]+)", log).group(1))
    assert found == pytest.approx(1 - protein_fraction(log), abs=1e-4)
    assert found == pytest.approx(job.soft.array.mean(), abs=0.01)


def test_prob_needs_a_solvent_content(job):
    job.write(job.soft.array)
    line = job.error("-mskin", "mask.map", "-mskin-value", "prob", solvent_content=0)
    assert "needs -solvent-content" in line


def test_the_log_compares_with_the_programs_own_mask(job):
    own = job.work.array > 0
    job.write(1.0 - own)
    log = job.run("-mskin", "mask.map")
    assert "own mask: 1 of the points, correlation 1\n" in log
    job.write(job.soft.array)
    log = job.run("-mskin", "mask.map")
    found = re.search(r"own mask: (\S+) of the points, correlation (\S+)", log)
    protein = 1 - job.soft.array
    assert float(found[1]) == pytest.approx(((protein > 0.5) == own).mean(), abs=0.02)
    assert float(found[2]) == pytest.approx(np.corrcoef(protein.ravel(), own.ravel())[0, 1], abs=0.03)


@pytest.mark.parametrize("own_is_new", [True, False])
def test_first_gives_the_programs_own_mask_back_in_later_cycles(job, own_is_new):
    job.write(job.soft.array)
    log = job.run("-mskin", "mask.map", "-mskin-cycles", "first", cycles=3, own_is_new=own_is_new)
    assert log.count("External solvent mask in cycle") == 1
    assert np.array_equal(job.protein(), job.work.array > 0)
    log = job.run("-mskin", "mask.map", cycles=3, own_is_new=own_is_new)
    assert log.count("External solvent mask in cycle") == 3
    assert len(set(re.findall("agreement.*", log))) == 1  # always with the program's own, not with ours
    assert np.abs(job.protein() - (1 - job.soft.array)).max() < 1e-5


# ---------------------------------------------------------------------------- files that are refused

def test_a_partial_map_is_refused(job):
    job.write(job.soft.array[:3, :5])
    assert "% of the unit cell only" in job.error("-mskin", "mask.map")
    job.write(job.soft.array[: job.soft.nu // 2], symops=[])
    assert "50 % of the unit cell only: it has no symmetry but P1" in job.error("-mskin", "mask.map")


def test_the_wrong_cell_is_refused_and_both_are_named(job):
    a, *rest = job.work.unit_cell.parameters
    job.write(job.soft.array, cell=[1.05 * a, *rest])
    line = job.error("-mskin", "mask.map")
    assert f"{1.05 * a:.3f}" in line and f"{a:.3f}" in line
    job.write(job.soft.array, cell=[a, *rest[:4], 93.0])
    assert "93.00" in job.error("-mskin", "mask.map")


def test_the_wrong_group_is_refused_and_both_are_named(job):
    job.write(job.soft.array, symops=triplets(gemmi.SpaceGroup("P 21 21 2")))
    line = job.error("-mskin", "mask.map")
    assert "P 21 21 2," in line and "P 21 21 21." in line


def test_the_other_hand_and_the_other_rhombohedral_setting_are_refused(driver, tmp_path):
    job = Job(driver, tmp_path / "tetragonal", "P 43 21 2")
    job.write(job.soft.array, symops=triplets(gemmi.SpaceGroup("P 41 21 2")))
    assert "P 41 21 2," in job.error("-mskin", "mask.map")
    hexagonal = Job(driver, tmp_path / "hexagonal", "R 3:H")
    rhombohedral = Job(driver, tmp_path / "rhombohedral", "R 3:R")
    write(hexagonal.folder / "mask.map", rhombohedral.soft.array, rhombohedral.soft)
    assert "has the cell" in hexagonal.error("-mskin", "mask.map")


def test_nan_is_refused(job):
    array = job.soft.array.copy()
    array[3, 2, 1] = np.nan
    job.write(array)
    assert "holds NaN" in job.error("-mskin", "mask.map")


def test_a_file_that_is_no_whole_map_is_refused(job):
    assert "cannot be opened" in job.error("-mskin", "missing.map")
    (job.folder / "text.map").write_text("not a map\n" * 500)
    assert "not a CCP4 map" in job.error("-mskin", "text.map")
    job.write(job.soft.array)
    content = (job.folder / "mask.map").read_bytes()
    (job.folder / "short.map").write_bytes(content[:-4])
    assert "cut short" in job.error("-mskin", "short.map")
    job.write(job.soft.array, "int16.map", mode=1)
    assert "data mode 1" in job.error("-mskin", "int16.map")


@pytest.mark.parametrize("records", [True, False])
def test_a_mask_on_another_origin_or_of_one_molecule_is_refused(job, records):
    # P 21 21 21 repeats itself at a shift by 1/2, but not by 1/8
    symops = None if records else []
    job.write(np.roll(job.soft.array, job.soft.nu // 8, axis=0), symops=symops)
    assert "does not obey the symmetry" in job.error("-mskin", "mask.map")
    one = job.soft.array.copy()
    one[job.soft.nu // 2:] = 1.0
    job.write(one, symops=symops)
    assert "does not obey the symmetry" in job.error("-mskin", "mask.map")


def test_a_part_of_the_cell_that_contradicts_itself_is_refused(job):
    # more than the asymmetric unit, with one molecule drawn and its symmetry copies not
    one = job.soft.array.copy()
    one[job.soft.nu // 2:] = 1.0
    job.write(one[:-1])
    assert "does not obey the symmetry" in job.error("-mskin", "mask.map")


def test_a_grid_that_does_not_fit_the_symmetry_must_hold_the_whole_cell(job):
    symops = triplets(job.work.spacegroup)
    nu, nv, nw = job.soft.shape
    odd = gemmi.FloatGrid(nu + 1, nv, nw)  # with no point half a cell away along x
    odd.set_unit_cell(job.work.unit_cell)
    odd = resample(job.soft, odd)
    write(job.folder / "mask.map", odd.array[: nu // 2], odd, symops=symops, ispg=19)
    assert "does not fit the operator" in job.error("-mskin", "mask.map")
    write(job.folder / "mask.map", odd.array, odd, symops=symops, ispg=19)
    job.run("-mskin", "mask.map")
    assert np.abs(job.protein() - (1 - job.soft.array)).max() < 0.15


def test_a_mask_with_one_region_is_refused(job):
    job.write(np.ones_like(job.soft.array))
    assert "one region only" in job.error("-mskin", "mask.map")


@pytest.mark.parametrize("options, message", [
    (["-mskin"], "needs a value"),
    (["-mskin", "-mskin-value", "soft"], "needs a value"),
    (["-mskin", "mask.map", "-mskin-value", "hard"], '"hard"'),
    (["-mskin", "mask.map", "-mskin-cycles", "2"], '"2"'),
    (["-mskin", "mask.map", "-mskin-one-is", "water"], '"water"'),
    (["-mskin-value", "soft"], "-mskin is missing"),
    (["-mask-command", "true"], "-mskin is missing"),
    (["-mskin", "mask.map", "-mask-map", "map.map"], "-mask-command is missing"),
    (["-mskin", "mask.map", "-mask-map", "mask.map", "-mask-command", "true"], "cannot use mask.map"),
])
def test_options_that_make_no_sense_are_refused(job, options, message):
    job.write(job.soft.array)
    assert message in job.error(*options)


def test_options_are_keywords_too(job):
    job.write(job.soft.array, "my mask.map")
    log = job.run("-stdin", stdin="mskin my mask.map\nmskin-value mask\nmskin-one-is protein\n")
    assert "my mask.map" in log
    assert np.array_equal(job.protein(), job.soft.array > 0.5)


def test_without_options_nothing_is_changed_and_nothing_is_said(job):
    log = job.run("-stdin", stdin="")
    assert log.splitlines() == ["solvent content at the end: 0.5"]
    assert np.array_equal(job.protein(), job.work.array > 0)


def test_the_usage_tells_that_the_options_are_there(driver):
    done = subprocess.run([driver], capture_output=True, text=True)
    assert done.returncode == 1 and "\t-mskin " in done.stdout


# -------------------------------------------------------------------------------------- mask command

def script(job, text, name="make mask.sh"):
    """A shell script as the command line of -mask-command."""
    path = job.folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return f"'./{name}' extra"


def test_the_command_makes_the_mask_of_each_cycle(job):
    job.write(job.soft.array, "made.map")
    job.write(1 - job.soft.array, "last.map")
    command = script(job, 'echo "called $1: $2: $3: $4:" >> calls\ncp made.map "$3"\n'
                          'if [ "$4" = 3 ]; then cp last.map "$3"; fi\ncp "$2" "seen $4.map"\n')
    log = job.run("-mskin", "my mask.map", "-mask-command", command, cycles=3, solvent_content=0)
    assert (job.folder / "calls").read_text().splitlines() == [
        f"called extra: out dir/parrot-current.map: my mask.map: {cycle}:" for cycle in (1, 2, 3)]
    assert log.count("External solvent mask in cycle") == 3
    assert np.abs(job.protein() - job.soft.array).max() < 1e-5  # that of the last cycle
    seen = gemmi.read_ccp4_map(str(job.folder / "seen 2.map"))
    seen.setup(float("nan"))
    assert np.abs(seen.grid.array - job.work.array).max() < 1e-4 * job.work.array.std()
    assert seen.grid.spacegroup == job.work.spacegroup


def test_the_command_runs_in_the_first_cycle_only_if_asked(job):
    job.write(job.soft.array, "made.map")
    command = script(job, 'echo $4 >> calls\ncp made.map "$3"\n')
    job.run("-mskin", "mask.map", "-mask-command", command, "-mskin-cycles", "first",
            "-mask-map", "a map's name.map", cycles=3)
    assert (job.folder / "calls").read_text() == "1\n"
    assert (job.folder / "a map's name.map").exists()
    assert np.array_equal(job.protein(), job.work.array > 0)


def test_a_failing_command_ends_the_run(job):
    job.write(job.soft.array)
    command = script(job, "exit 7\n")
    assert "failed with status 7" in job.error("-mskin", "mask.map", "-mask-command", command)
    assert "failed with" in job.error("-mskin", "mask.map", "-mask-command", "/no/such/program")


def test_a_command_that_is_killed_ends_the_run(job):
    line = job.error("-mskin", "mask.map", "-mask-command", script(job, "kill -9 $$\n"))
    assert "failed with" in line


def test_a_mask_that_is_not_renewed_ends_the_run(job):
    job.write(job.soft.array)
    # a mask of a former run must not be taken for the new one
    assert "without writing mask.map anew" in job.error("-mskin", "mask.map", "-mask-command", "true")
    job.write(job.soft.array, "made.map")
    command = script(job, 'if [ "$4" = 1 ]; then cp made.map "$3"; fi\n')
    log = job.run("-mskin", "mask.map", "-mask-command", command, cycles=2, status=1)
    assert "in cycle 1" in log and "without writing mask.map anew" in log


def test_the_command_may_read_the_mask_before(job):
    job.write(job.soft.array)
    job.run("-mskin", "mask.map", "-mask-command", script(job, 'cp "$3.previous" "$3"\n'), cycles=2)
    assert np.abs(job.protein() - (1 - job.soft.array)).max() < 1e-5


def test_a_bad_mask_from_the_command_ends_the_run(job):
    command = script(job, 'head -c 3000 "$2" > "$3"\n')
    assert "mask.map is cut short" in job.error("-mskin", "mask.map", "-mask-command", command)


def test_a_map_that_cannot_be_written_ends_the_run(job):
    line = job.error("-mskin", "mask.map", "-mask-command", "true", "-mask-map", "no/folder/map.map")
    assert line.startswith("ERROR: -mask-command") and "no/folder/map.map" in line


# ------------------------------------------------------------------------------------ the patch itself

def test_the_patch_only_adds_lines_and_quotes_none():
    lines = (PATCH / "cparrot-mskin.patch").read_text().splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["---", "+++"]
    added = 0
    inserted = -1
    due = 0
    for line in lines[2:]:
        hunk = re.fullmatch(r"@@ -(\d+),0 \+(\d+)(?:,(\d+))? @@", line)
        if hunk:
            assert due == 0
            place, new, due = int(hunk[1]), int(hunk[2]), int(hunk[3] or 1)
            assert place > inserted and new == place + added + 1
            inserted = place
        else:
            assert line.startswith("+"), line
            added, due = added + 1, due - 1
    assert due == 0 and added == 8
