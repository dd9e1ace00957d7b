"""The command line of ``crank2-unet``: its commands and their options."""

from __future__ import annotations

import argparse

from .. import __version__
from .commands import (
    run_check,
    run_crank2,
    run_dm,
    run_hand,
    run_mask_client,
    run_mask_server,
    run_phase,
    run_segment,
    run_solve,
)

_DATA = """columns: those not named are found by their types; if there are several sets, the program
lists them and asks.  Labels are comma-separated; Clipper paths such as '/*/*/[F,SIGF]' work too."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crank2-unet", description="Solvent masks from a U-net, for density modification.")
    parser.add_argument("--version", action="version", version=f"crank2-unet {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an internal error happened")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_solve(commands)
    _add_segment(commands)
    _add_dm(commands)
    _add_phase(commands)
    _add_hand(commands)
    _add_mask_server(commands)
    _add_check(commands)
    _add_crank2(commands)
    _add_model(commands)
    return parser


def _add_solve(commands) -> None:
    parser = _command(commands, "solve", run_solve, "from Friedel mates and sites to the final map", """
Phases both hands of the sites, finds the right one, and modifies its density, with NCS where the sites
show it: 'crank2-unet phase', 'hand' and 'dm' in one.  Writes dm.mtz (FWT, PHWT, FOM, HLA-HLD),
mask.ccp4, sites.pdb, result.json and report.html, and the files of each stage in a sub-folder.  Started
again, the same command goes on after the stages that are finished.""")
    parser.add_argument("mtzin", metavar="IN.mtz", help="Friedel mates: F(+), F(-) or I(+), I(-)")
    _add_output(parser)
    _add_phasing(parser)
    parser.add_argument("--mask", choices=["unet", "variance"], default="unet",
                        help="where masks come from: the network (default) or local variance (the "
                             "classical way; with Parrot its own mask)")
    _add_modification(parser)
    _add_content(parser)
    _add_network(parser)


def _add_segment(commands) -> None:
    parser = _command(commands, "segment", run_segment, "mask and solvent content of a map", """
Segments the map of an MTZ file: map coefficients (F,PHI), best with the amplitudes, by which the map
is sharpened, or amplitudes with Hendrickson-Lattman coefficients, or with phases and figures of
merit.  Writes mask.ccp4 (1 = solvent), probability.ccp4,
flat.ccp4 (probability that the density is flat, which density modification goes by),
mask.mtz (FMSK, PHMSK), result.json and report.html.""")
    parser.add_argument("mtzin", metavar="IN.mtz", help="phased data or map coefficients")
    _add_output(parser)
    report = parser.add_mutually_exclusive_group()
    report.add_argument("--no-report", action="store_true",
                        help="leave report.html out")
    report.add_argument("--pictures", action="store_true",
                        help="also write the sections that the report shows as PNG files")
    _add_columns(parser)
    _add_content(parser)
    _add_network(parser)


def _add_dm(commands) -> None:
    parser = _command(commands, "dm", run_dm, "density modification with a mask for every cycle", """
Improves experimental phases by solvent flattening, histogram matching and phase combination, with
the solvent mask renewed in every cycle.  Writes dm.mtz (input columns and FWT, PHWT, FOM, HLA-HLD),
mask.ccp4, flat.ccp4 (P(flat) of the last cycle), result.json and report.html; with Parrot also its log
and a script that repeats its runs.""")
    parser.add_argument("mtzin", metavar="IN.mtz", help="amplitudes with experimental phases")
    _add_output(parser)
    parser.add_argument("--no-report", action="store_true", help="leave report.html out")
    parser.add_argument("--mask", default="unet", metavar="unet|variance|FILE.ccp4",
                        help="where masks come from: the network (default), local variance (the "
                             "classical way; with Parrot its own mask), or a map with 1 = solvent "
                             "that is used in all cycles")
    parser.add_argument("--mask-one-is", choices=["solvent", "protein"],
                        help="what 1 means in FILE.ccp4; default: solvent, and a mask that looks "
                             "inverted is refused")
    _add_modification(parser)
    parser.add_argument("--ncs-sites", metavar="SITES.pdb",
                        help="these sites; default: those that 'crank2-unet phase' has left beside "
                             "IN.mtz, if it has made it")
    parser.add_argument("--ncs-operator", metavar="A,B,G,X,Y,Z,X,Y,Z", action="append", default=[],
                        help="a known operator: Euler angles, a point of the molecule or domain, and "
                             "where it goes; give one for each pair of copies or of domains, which get "
                             "masks of their own")
    _add_columns(parser)
    _add_content(parser)
    _add_network(parser)


def _add_modification(parser) -> None:
    """What is as good in either hand."""
    parser.add_argument("--cycles", type=int, metavar="N",
                        help="within the resolution of the data; default: until held-back amplitudes "
                             "agree no better, then some with reflections beyond the data; with "
                             "Parrot 10")
    parser.add_argument("--free", metavar="COLUMN[=VALUE]",
                        help="keep the reflections out that this column of flags marks for a free R "
                             "value; default VALUE: of two the rarer one, of several 0")
    parser.add_argument("--ncs", choices=["auto", "none"], default="auto",
                        help="auto (default): average the map over non-crystallographic symmetry "
                             "that heavy-atom sites, or the map after some cycles, show and the map "
                             "confirms; none: never")
    group = parser.add_argument_group("program that modifies the density")
    group.add_argument("--engine", choices=["auto", "embedded", "parrot"], default="auto",
                       help="auto is the embedded engine, also where there is a Parrot, unless one "
                            "of the following options is given")
    group.add_argument("--parrot", metavar="PATH",
                       help="use this cparrot; default for --engine parrot: what the environment "
                            "variable CRANK2_UNET_PARROT names, then PATH, then $CCP4/bin")
    group.add_argument("--parrot-options", default="", metavar="'OPTIONS'",
                       help="use Parrot with further options, for instance "
                            "--parrot-options='-ncs-asu-fraction 0.2'")


def _add_mask_server(commands) -> None:
    parser = _command(commands, "mask-server", run_mask_server, "masks for a Parrot of your own", """
Runs a Parrot that knows -mask-command and gives it the network's mask in each cycle.  The network
is loaded once.  Write the command after --, with -mskin FILE -mskin-value soft -mask-command
'crank2-unet mask-client' in it; its exit status is that of this command.""")
    parser.add_argument("mtzin", metavar="IN.mtz", help="the data that Parrot gets")
    parser.add_argument("program", nargs="+", metavar="-- COMMAND", help="Parrot and its options")
    _add_columns(parser)
    _add_content(parser)
    _add_network(parser)
    parser = _command(commands, "mask-client", run_mask_client, "the -mask-command of mask-server", """
Asks 'crank2-unet mask-server' for the mask of a map; Parrot runs it by itself.""")
    for name in ("map", "mask", "cycle"):
        parser.add_argument(name, metavar=name.upper())


def _add_phase(commands) -> None:
    parser = _command(commands, "phase", run_phase, "SAD phases from data and known sites", """
Phases F(+), F(-) or I(+), I(-) with known sites of one anomalous scatterer; occupancies, B factors,
positions and errors are refined, further sites found and wrong ones dropped.  Writes phased.mtz (F,
SIGF, HLA-HLD, PHIB, FOM), sites.pdb, result.json and report.html.""")
    parser.add_argument("mtzin", metavar="IN.mtz", help="Friedel mates: F(+), F(-) or I(+), I(-)")
    _add_output(parser)
    _add_phasing(parser)
    _add_composition(parser)
    parser.add_argument("--hand", choices=["given", "both"], default="given",
                        help="both: also phase the other hand of the sites")
    parser.add_argument("--cycles", type=int, default=5, metavar="N",
                        help="of site refinement; default: 5")
    parser.add_argument("--phases", metavar="DM.mtz",
                        help="output of 'crank2-unet dm', to find sites by; the phases that are "
                             "written come from the data and sites alone")
    parser.add_argument("--colin-phases", metavar="HLA,HLB,HLC,HLD",
                        help="of a modified map alone, where --phases is not of 'crank2-unet dm'")


def _add_phasing(parser) -> None:
    parser.add_argument("--sites", required=True, metavar="SITES.pdb",
                        help="PDB, mmCIF, CIF or SHELX .res, .hat; if there are several elements, "
                             "the atoms of --element are taken")
    parser.add_argument("--element", required=True, metavar="Se", help="of the sites")
    parser.add_argument("--wavelength", type=float, metavar="A",
                        help="for theoretical f' and f''; default: that of the MTZ file")
    parser.add_argument("--f-prime", type=float, metavar="E", help="f' in electrons")
    parser.add_argument("--f-double-prime", type=float, metavar="E", help="f'' in electrons")
    parser.add_argument("--keep-sites", action="store_true",
                        help="neither add nor drop sites; default: as the data tell")
    parser.add_argument("--colin-fpm", metavar="F+,SIGF+,F-,SIGF-", help="columns of amplitudes")
    parser.add_argument("--colin-ipm", metavar="I+,SIGI+,I-,SIGI-", help="columns of intensities")
    parser.add_argument("--colin-fdano", metavar="F,SIGF,DANO,SIGDANO",
                        help="columns of mean amplitudes and anomalous differences, of which mates are "
                             "made; default: the first of these three kinds that the file has")


def _add_hand(commands) -> None:
    parser = _command(commands, "hand", run_hand, "which of two hands is right", """
Compares amplitudes phased in either hand, such as phased.mtz and phased_other_hand.mtz of 'crank2-unet
phase --hand both', and gives the probability of each.  Writes result.json and report.html.""")
    parser.add_argument("first", metavar="IN.mtz", help="amplitudes with experimental phases")
    parser.add_argument("other", metavar="OTHER.mtz", help="the same in the other hand")
    _add_output(parser)
    _add_columns(parser)
    _add_network(parser)


def _add_check(commands) -> None:
    parser = _command(commands, "check", run_check, "is this installation usable?", """
Reports versions, the model and its self-test, the devices that really start, seconds for one window,
and whether Parrot, CCP4 and Crank2 are found.""")
    parser.add_argument("--model", metavar="CARD.json", help="model card; default: the packaged one")


def _add_crank2(commands) -> None:
    for name, summary, text in [
            ("status", "is option dmmask there in Crank2?", """
Says whether the import hook is at work in this Python and, for each Crank2 that is found, whether it
knows masks, and has files of 'crank2-unet install' or of its own.  Changes nothing."""),
            ("install", "write files into Crank2's folder, where the import hook is not at work", """
Writes processes/segmentmap.py and programs/unetsegment.py, which lead to this package, into Crank2's
folder; for a Python in which the import hook is not at work, as one started with -S."""),
            ("uninstall", "remove these files again", """
Removes what 'crank2-unet install' has written into Crank2's folder, and nothing else.  The import hook
goes with 'pip uninstall crank2-unet'.""")]:
        parser = _command(commands, name, run_crank2, summary, text + """

Usually there is nothing to do: installing crank2-unet with pip in the Python that runs Crank2
(ccp4-python) gives it the option dmmask, through an import hook that touches no file of CCP4.""")
        parser.set_defaults(task=name)
        parser.add_argument("--crank2", metavar="DIR",
                            help="folder with crank2.py; default: in $CCP4 and in this Python")


def _add_model(commands) -> None:
    from ..training.cli import add_commands

    add_commands(commands.add_parser(
        "model", help="prepare, train, export and evaluate networks",
        description="For those who train networks; needs the extra train: pip install '.[train]'."))


def _command(commands, name: str, run, summary: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=text.strip(), epilog=_DATA if
                                 name in ("segment", "dm", "hand") else None)
    parser.set_defaults(run=run)
    return parser


def _add_output(parser) -> None:
    parser.add_argument("-o", "--output", metavar="DIR", required=True,
                        help="folder of the results; made if need be")


def _add_columns(parser) -> None:
    group = parser.add_argument_group("columns of the MTZ file")
    group.add_argument("--colin-fo", metavar="F,SIGF", help="observed amplitudes")
    group.add_argument("--colin-hl", metavar="A,B,C,D", help="Hendrickson-Lattman coefficients")
    group.add_argument("--colin-phifom", metavar="PHI,FOM", help="phase and figure of merit")
    group.add_argument("--colin-fc", metavar="F,PHI", help="coefficients of the starting map")


def _add_composition(parser) -> None:
    group = parser.add_argument_group("content of the crystal").add_mutually_exclusive_group()
    group.add_argument("--seq", metavar="FILE", help="sequence of one copy, FASTA or PIR")
    group.add_argument("--residues", type=int, metavar="N", help="residues of one copy")


def _add_content(parser) -> None:
    _add_composition(parser)
    parser.add_argument("--solvent-content", type=float, metavar="X",
                        help="fixes the solvent content, 0-1; default: estimated")


def _add_network(parser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument("--model", metavar="CARD.json", help="model card; default: the packaged one")
    group.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto",
                       help="auto: the GPU if it really starts, else the CPU")
    group.add_argument("--threads", type=int, metavar="N",
                       help="CPU threads; default: the cores this process may use")
