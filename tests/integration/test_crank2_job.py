"""The real Crank2 with dmmask, from its command line to its logs; CCP4 programs are stand-ins."""

import os
import re
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest
from crank2_job import REPOSITORY, crystal, phased_example, prepare

from crank2_unet.jobs.choices import Columns, Content
from crank2_unet.jobs.segment import run_segment

CYCLES = "biascyc::2 dmcyc::6"
EXAMPLES = REPOSITORY / "examples" / "crank2"
MASKED = [1, 2, 4, 5, 6]  # Crank2 leaves out cycles 3, 8, ... but never the last two


@pytest.fixture(scope="module")
def crank2(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("crank2"))


@pytest.fixture(scope="module")
def keywords(crank2):
    shared = os.environ.get("CRANK2_UNET_DATA")
    return crystal(Path(shared) if shared else None, crank2.work)


@pytest.fixture(scope="module")
def unet(crank2, keywords):
    return crank2.run("unet", f"{keywords}dmfull {CYCLES} dmmask::unet\n")


@pytest.fixture(scope="module")
def classic(crank2, keywords):
    return crank2.run("classic", f"{keywords}dmmask::unet\ndmfull {CYCLES} dmmask::classic\n")


def data_file(keywords):
    return re.search(r'"file=(.*\.mtz)"', keywords)[1]


def masks_sent(job):
    """Cycles of the last pass in which Parrot was sent a mask."""
    return [c for c in range(1, 7) if {"mskin", "colin-wrk-fmsk"} & set(job.parrot_keywords(c))]


def calls(job):
    """How often the network gave a mask, and how often it was asked for one."""
    return tuple(map(int, re.search(r"mask was used in (\d+) of (\d+) cycles", job.log).groups()))


def test_the_network_is_asked_in_the_right_cycles_and_cited(unet):
    assert masks_sent(unet) == MASKED
    # two cycles of bias estimation, then those of the list; two more if the bias is large
    assert calls(unet) in [(7, 7), (9, 9), (11, 11)]
    assert len(re.findall(r"Solvent masks by the network", unet.log)) == 1
    assert "Skubak P (2024)" in unet.log
    assert "Skubak P (2024)" in (unet.folder / "crank.loggraph").read_text()
    inside = (unet.folder / "0-dmfull" / "segmentmap" / "Unetmapsegmentation.log").read_text()
    assert "Solvent content:" in inside


def test_what_parrot_is_told(unet):
    for cycle in MASKED:
        told = unet.parrot_keywords(cycle)
        if "mskin" in told:
            assert told["mskin-value"] == "soft" and told["mskin-one-is"] == "solvent"
            assert "colin-wrk-fmsk" not in told
            assert told["mskin"].endswith(f"weights_{float(told['solvent-content']):.4f}.ccp4")
        else:
            assert float(told["solvent-mask-filter-radius"]) == 2.0
    assert "colin-wrk-fc" in unet.parrot_keywords(2)


def test_the_solvent_content_is_perturbed_as_ever(unet, classic):
    """Crank2 moves it from cycle to cycle; the last one has what was decided."""
    contents = [float(unet.parrot_keywords(c)["solvent-content"]) for c in range(1, 7)]
    moves = np.round(np.array(contents) - contents[-1], 3)
    others = [float(classic.parrot_keywords(c)["solvent-content"]) for c in range(1, 7)]
    assert moves.tolist() == np.round(np.array(others) - others[-1], 3).tolist()
    assert len(set(moves)) > 2


def test_the_solvent_content_is_decided_by_network_and_matthews(unet, keywords, tmp_path):
    labels = ",".join(re.search(r"hla=(\S+) hlb=(\S+) hlc=(\S+) hld=(\S+)", keywords).groups())
    sequence = re.findall(r'"file=(.*)"', keywords)[-1]
    ours = run_segment(data_file(keywords), str(tmp_path), Columns(fo="F,SIGF", hl=labels),
                       Content(sequence=sequence), report=False)["solvent_content"]
    decided = float(unet.parrot_keywords(6)["solvent-content"])
    assert decided == pytest.approx(ours["value"], abs=0.02)


def measured(keywords):
    """Miller indices of the measured reflections."""
    data = gemmi.read_mtz_file(data_file(keywords))
    return {tuple(h) for h, f in zip(data.make_miller_array().tolist(),
                                     data.column_with_label("F").array) if np.isfinite(f)}


def rows(job):
    """Miller indices for which Parrot's last map has coefficients."""
    out = gemmi.read_mtz_file(str(job.folder / "0-dmfull" / "dm" / "parrot.mtz"))
    fmod = next(c for c in out.columns if c.label.endswith("FMOD")).array
    return {tuple(h) for h, f in zip(out.make_miller_array().tolist(), fmod) if np.isfinite(f)}


def test_only_measured_reflections_come_back(unet, keywords):
    assert len(rows(unet)) > 0.95 * len(measured(keywords)) and rows(unet) <= measured(keywords)


def test_the_bias_is_estimated(unet, classic):
    """Without the free reflections in Parrot's output it would be at its floor of 0.2."""
    for job in (unet, classic):
        betas = [float(x) for x in re.findall(r"Beta (?:estimated as|corrected to) ([\d.]+)", job.log)]
        assert betas and all(0.4 < beta <= 1.0 for beta in betas), job.log


def test_classic_knows_nothing_of_us(classic):
    assert masks_sent(classic) == [] and not (classic.folder / "0-dmfull" / "segmentmap").exists()
    assert "network" not in classic.log


def test_a_failure_in_a_cycle_gives_the_classical_mask(crank2, keywords, classic):
    """The job ends, says how often it failed, and is that with the classical mask."""
    broken = crank2.run("broken", f"{keywords}dmfull {CYCLES} dmmask::unet\n",
                        STANDIN_BREAKS="segment")
    done, asked = calls(broken)
    assert done == 0 and asked >= 7 and "broken on purpose" in broken.log
    assert broken.log.count("is done with the classical mask. Unetmapsegmentation failed") == asked
    assert masks_sent(broken) == []
    assert broken.foms == pytest.approx(classic.foms, abs=0.002)


def test_an_unusable_network_is_told_at_the_start_and_at_the_end(crank2, keywords):
    job = crank2.run("unusable", f"{keywords}dmfull no_bias_est::True dmcyc::1 dmmask::unet\n",
                     STANDIN_BREAKS="check")
    assert "the job goes on with the CLASSICAL mask. broken on purpose" in job.log
    assert ("mask was used in 0 of 1 cycles: SOLVENT MASKS OF THE NETWORK COULD NOT BE USED. broken on "
            "purpose") in job.log
    assert not (job.folder / "0-dmfull" / "segmentmap").exists()


def test_the_log_says_of_each_cycle_where_its_mask_came_from(unet, classic):
    lines = cycle_lines(unet)[-6:]  # those of the last pass
    assert [cycle for cycle, (source, *_) in enumerate(lines, 1) if source == "the network"] == MASKED
    decided = float(unet.parrot_keywords(6)["solvent-content"])
    for cycle, (_, used, contents, fom) in enumerate(lines, 1):
        assert used == pytest.approx(float(unet.parrot_keywords(cycle)["solvent-content"]), abs=1e-3)
        assert list(contents) == ["Matthews", "network", "decided"]
        assert contents["decided"] == pytest.approx(decided, abs=1e-3)
        assert fom == pytest.approx(unet.foms[cycle - 7], abs=1e-3)
    assert f"FOM after the last cycle: {lines[-1][-1]:.3f}." in unet.log
    assert {source for source, *_ in cycle_lines(classic)} == {"local variance"}
    assert "Masks were made by local variance in all" in classic.log


def cycle_lines(job):
    """Source of the mask, solvent content used, those it is from, and FOM, of each cycle."""
    found = re.findall(r"Mask by (.*); solvent content ([\d.]+) \((.*)\); FOM ([\d.]+)", job.log)
    return [(source, float(used), {name: float(value) for name, value in
                                   (item.split() for item in contents.split(", "))}, float(fom))
            for source, used, contents, fom in found]


def test_no_flattening(crank2, keywords):
    """Parrot, be it ours, is told and does it."""
    job = crank2.run("none", f"{keywords}dmfull no_bias_est::True dmcyc::1\n", "--dmmask=NONE")
    told = job.parrot_keywords(1)
    assert "histogram-match" in told and "ncs-average" in told and "solvent-flatten" not in told
    assert "There was no solvent flattening in any of 1 cycles." in job.log
    assert rows(job)


@pytest.mark.parametrize("value", ["unet", "classic", "none"])
def test_unet_parrot_stands_in_where_there_is_no_cparrot(crank2, keywords, tmp_path, value):
    """It makes the mask that Crank2 wants, and not one by the network of its own accord."""
    for program in crank2.bin.iterdir():
        if program.name != "cparrot" and program.is_file():
            (tmp_path / program.name).symlink_to(program)
    job = replace(crank2, bin=tmp_path).run(
        f"no_cparrot_{value}", f"{keywords}dmfull no_bias_est::True dmcyc::1 dmmask::{value}\n",
        CRANK2_UNET_PARROT="", CCP4="")
    assert "the replacement for Parrot of crank2-unet, because no cparrot was found" in job.log
    told = job.parrot_keywords(1)
    assert ("mskin" in told) == (value == "unet") and (told.get("mask") == "variance") != (
        value == "unet")


def test_without_the_option_crank2_is_as_it_was(crank2, keywords):
    """Byte for byte, but for times and the names of the two folders."""
    text = f"{keywords}dmfull no_bias_est::True dmcyc::1\n"
    with_hook, without = crank2.run("hook", text), crank2.run(
        "without", text, CRANK2_UNET_HOOK="off")

    def contents(job):
        return {str(path.relative_to(job.folder)): scrubbed(path, job.folder)
                for path in sorted(job.folder.rglob("*")) if path.is_file()}

    def scrubbed(path, folder):
        text = path.read_text(errors="replace").replace(str(folder), "")
        return re.sub(r"\d+:\d+:\d+|\d+/ ?\d+/ ?\d+|[\d.]+ ?s\b.*", "", text) if path.suffix != ".mtz" \
            else gemmi.read_mtz_file(str(path)).array.tobytes()

    assert contents(with_hook) == contents(without)


def test_both_hands(crank2):
    """The example, with fewer cycles; both hands run at once, in forked processes."""
    text = (EXAMPLES / "both_hands.inp").read_text()
    assert "handdet dmmask::unet\n" in text
    text = text.replace("handdet dmmask::unet", "handdet dmmask::unet dmfull dmcyc::2 dm parrot")
    text = text.replace("dmfull dmmask::unet h", "dmfull dmmask::unet biascyc::2 dmcyc::2 h")
    job = crank2.run("hands", text)
    for hand in (1, 2):
        assert re.search(rf"used for hand {hand} in (\d+) of \1 cycles", job.log)
    foms = []
    for step in ("2-dmfull", "2-dmfull_hand2"):
        assert (job.folder / step / "segmentmap" / "result.json").exists()
        log = (job.folder / step / "dmfull.log").read_text()
        foms.append(float(re.findall(r"Overall MEAN FOM is ([\d.]+)", log)[-1]))
    assert foms[0] > foms[1]  # the sites are in the right hand
    assert list(job.folder.rglob("*.oh.pdb"))  # those of the other one


def test_a_parrot_that_reads_no_masks(crank2, keywords):
    """It gets coefficients and the radius they are made for, whatever Crank2 wants for its own mask;
    NCS is looked for as ever.  map_segmentation is Crank2's own name of what dmmask::unet does."""
    parrot = crank2.bin / "old" / "cparrot"
    parrot.parent.mkdir()
    script = (crank2.bin / "cparrot").read_text().splitlines()[1]
    usage = f"{{ '{crank2.bin}/cparrot' | grep -v mskin; exit 1; }}"
    parrot.write_text(f"#!/bin/sh\n[ $# = 0 ] && {usage}\n{script}\n")
    parrot.chmod(0o755)
    job = crank2.run("carrier", f"{keywords}dmfull no_bias_est::True map_segmentation::True dmcyc::2 "
                     f'ncs_det::True solventmask_radius::5.0 dm parrot "binary::{parrot}"\n',
                     CRANK2_UNET_PARROT="")
    assert "which does not read masks" in job.log and calls(job) == (2, 2)
    for cycle in (1, 2):
        told = job.parrot_keywords(cycle)
        assert told["colin-wrk-fmsk"].endswith("/[FMSK,PHMSK]") and "mskin" not in told
        assert float(told["solvent-mask-filter-radius"]) == 2.0
    assert "pdbin-wrk-ha" in job.parrot_keywords(2)
    assert rows(job) <= measured(keywords)  # Parrot was given the unmeasured ones as well
    merged = gemmi.read_mtz_file(str(job.folder / "0-dmfull" / "dm" / "parrot_inpmerge.mtz"))
    assert merged.nreflections > len(rows(job))


def test_density_modification_from_given_phases(crank2):
    text = (EXAMPLES / "dm_from_phases.inp").read_text()
    text = text.replace("out/phase/", f"{phased_example(crank2.work).parent}/")
    job = crank2.run("phases", text.rstrip() + " no_bias_est::True dmcyc::2\n")
    assert calls(job) == (2, 2) and job.foms[-1] > job.foms[0]


def test_building_goes_as_far_as_there_are_programs(crank2):
    job = crank2.run("building", (EXAMPLES / "sad_to_building.inp").read_text(), status=1)
    assert "Binary cbuccaneer for program Buccaneer does not exist" in job.log
    assert job.log.count("Solvent masks by the network") == 1  # for both steps


def test_phasing_and_density_modification_from_sites(crank2):
    """The same job without its building, and with fewer cycles."""
    text = (EXAMPLES / "sad_to_building.inp").read_text().split("comb_phdmmb")[0]
    job = crank2.run("sites", text.rstrip() + " no_bias_est::True dmcyc::1\n")
    assert calls(job) == (1, 1) and len(job.foms) == 1
