"""Command lines and keyword files as Crank2, CCP4i2, ModelCraft and users write them."""

import pytest

from crank2_unet.errors import InputError
from crank2_unet.unet_parrot.options import REFUSED, UNNEEDED, USAGE, parse

STEPS = ("solvent-flatten", "histogram-match", "ncs-average")
CRANK2 = """colin-hl crystal/peak/[HLA,HLB,HLC,HLD]
mtzin-wrk ../in put.mtz
colin-wrk-fo crystal/peak/[F,SIGF]
# a comment
   solvent-content 0.43

title a title, with "marks" and # signs
anisotropy-correction
modify-map-and-terminate
ncs-mask-filter-radius 9.0
pdbin-wrk-ha "heavy.pdb"
colin-wrk-fmsk crystal/peak/[FMSK,PHMSK]
ncs-operator 1,2,3,4,5,6,7,8,9
ncs-operator 9,8,7,6,5,4,3,2,1
cycles 1
colout-fc crystal/peak/[FMOD,PHMOD]
mtzout out.mtz
""".splitlines(keepends=True)


def test_keywords_of_crank2():
    options, notes = parse(["-stdin"], CRANK2)
    assert options.mtzin == "../in put.mtz" and options.mtzout == "out.mtz"
    assert options.colin_fo == "crystal/peak/[F,SIGF]"
    assert options.colin_fmsk == "crystal/peak/[FMSK,PHMSK]"
    assert options.title == 'a title, with "marks" and # signs'
    assert options.pdbin_ha == "heavy.pdb"
    assert (options.solvent_content, options.cycles, options.ncs_mask_filter_radius) == (0.43, 1, 9.0)
    assert options.modify_map_and_terminate and options.does("ncs_average")
    assert options.ncs_operator == ["1,2,3,4,5,6,7,8,9", "9,8,7,6,5,4,3,2,1"]
    assert options.anisotropy_correction and not notes


def test_command_line_of_modelcraft_and_reference_of_ccp4i2():
    options, notes = parse("-mtzin h.mtz -colin-fo F,SIGF -colin-free FREE -colin-phifom P,W -cycles 5 "
                           "-mtzin-ref r.mtz -colin-ref-phifom A,B -verbose 2 -mtzout o.mtz".split())
    assert (options.colin_phifom, options.cycles) == ("P,W", 5)
    assert len(notes) == 4 and all("no effect" in note for note in notes)
    assert "colin-free" in notes[0]


def test_keywords_come_where_stdin_stands():
    options, _ = parse(["-cycles", "2", "-stdin", "-mtzout", "last.mtz"], ["cycles 7", "mtzin a.mtz"])
    assert (options.cycles, options.mtzin, options.mtzout) == (7, "a.mtz", "last.mtz")


def test_keywords_are_not_read_unasked():
    options, _ = parse(["-mtzin", "a.mtz"], ["nonsense"])
    assert options.mtzin == "a.mtz"


@pytest.mark.parametrize("words, message", [
    (["-sharpen", "10"], "-sharpen is an option of cparrot that unet-parrot does not have"),
    (["-mapout-ncs", "x"], "-mapout-ncs"),
    (["-nonsense"], "Unrecognized: -nonsense"),
    (["in.mtz"], "Unrecognized: in.mtz"),
    (["-cycles"], "-cycles needs a value"),
    (["-cycles", "two"], "-cycles two: give a number"),
    (["-cycles", "0"], "-cycles 0: give 1 or more"),
    (["-solvent-content", "45"], "fraction"),
    (["-mask", "oracle"], "unet or variance"),
    (["-mskin-value", "hard"], "mask or prob or soft"),
    (["-mask-command", "x"], "give both"),
    (["-mask-map", "x"], "-mask-command, which is missing"),
])
def test_refusals_name_the_option(words, message):
    with pytest.raises(InputError, match=message):
        parse(["-mtzin", "a.mtz", *words])


def test_data_are_needed():
    with pytest.raises(InputError, match="-mtzin"):
        parse(["-cycles", "3"])


@pytest.mark.parametrize("named", [[], ["solvent-flatten"], ["histogram-match", "ncs-average"],
                                   ["ncs-average"], list(STEPS)])
def test_one_step_named_switches_the_others_off(named):
    options, _ = parse(["-mtzin", "a.mtz", *(f"-{step}" for step in named)])
    assert [step for step in STEPS if options.does(step.replace("-", "_"))] == (named or list(STEPS))


def test_usage_tells_every_option():
    from dataclasses import fields

    from crank2_unet.unet_parrot.options import ParrotOptions

    names = {field.name.replace("_", "-") for field in fields(ParrotOptions)} | set(UNNEEDED)
    assert all(f"-{name}" in USAGE for name in names)
    assert not names & set(REFUSED)
