"""Command line: ``crank2-unet`` and ``python -m crank2_unet``.

Only the standard library is imported here at the top, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .. import __version__
from ..errors import Crank2UnetError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_DATA = """columns: those not named are found by their types; if there are several sets, the program
lists them and asks.  Labels are comma-separated; Clipper paths such as '/*/*/[F,SIGF]' work too."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    0 if all is well, 1 after an error (one message on stderr), 2 for a wrong command line.
    """
    options, rest = _parser().parse_known_args(arguments)
    if rest and not hasattr(options, "module"):  # commands of modules parse the rest themselves
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    extra = "cpu" if options.run.__module__ == __name__ else "train"
    return reporting(lambda: options.run(options), extra, options.debug)


def reporting(run: Callable[[], int | None], extra: str = "cpu", debug: bool = False) -> int:
    """Run a program's work with its warnings and errors on stderr.

    Parameters
    ----------
    run : the work; returns an exit status, None for 0.
    extra : what to install, as in crank2-unet[extra], if a package is missing.
    debug : show where an internal error happened.

    Returns
    -------
    Exit status: 1 after an error.
    """
    _prepare_process()
    with suppress(ValueError):  # in a thread there are no signals
        signal.signal(signal.SIGTERM, _end)  # from batch systems: leave nothing behind
    try:
        with _warnings_shown():
            return run() or 0
    except Crank2UnetError as error:
        print(f"ERROR: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"ERROR: the Python package {error.name} is not installed. Install it with "
              f"'pip install crank2-unet[{extra}]'.", file=sys.stderr)
    except KeyboardInterrupt:
        print("ERROR: interrupted; no result was written.", file=sys.stderr)
    except MemoryError:
        print("ERROR: not enough memory for this crystal; no result was written. Use a machine "
              "with more memory.", file=sys.stderr)
    except Exception as error:  # a bug: say so, and leave the details to --debug
        if debug:
            traceback.print_exc()
        print(f"ERROR: internal error ({type(error).__name__}: {error}). This is a bug; please "
              "report it with the output of the same command and --debug.", file=sys.stderr)
    return 1


def _prepare_process() -> None:
    """Make maps cheap: they are many large arrays that live for a moment.

    glibc would give each back to the system and get fresh pages for the next, which took a quarter of
    a cycle with a map of 6 million points.  Threads of OpenBLAS wait actively between products that
    are too small for them; the FFTs and the network do not use it.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded, later
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _end(*_) -> None:
    raise KeyboardInterrupt


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """Print our own warnings on stderr and leave the logs of libraries alone."""
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log = logging.getLogger("crank2_unet")
    log.addHandler(shown)
    try:
        yield
    finally:
        log.removeHandler(shown)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crank2-unet", description="Solvent masks from a U-net, for density modification.")
    parser.add_argument("--version", action="version", version=f"crank2-unet {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an internal error happened")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_segment(commands)
    _add_dm(commands)
    _add_phase(commands)
    _add_hand(commands)
    _add_mask_server(commands)
    _add_check(commands)
    _add_crank2(commands)
    _add_model(commands)
    return parser


def _add_segment(commands) -> None:
    parser = _command(commands, "segment", _run_segment, "mask and solvent content of a map", """
Segments the map of an MTZ file: map coefficients (F,PHI), best with the amplitudes, by which the map
is sharpened, or amplitudes with Hendrickson-Lattman coefficients, or with phases and figures of
merit.  Writes mask.ccp4 (1 = solvent), probability.ccp4,
flat.ccp4 (probability that the density is flat, which density modification goes by),
mask.mtz (FMSK, PHMSK), result.json and report.html.""")
    parser.add_argument("mtzin", metavar="IN.mtz", help="phased data or map coefficients")
    _add_output(parser)
    report = parser.add_mutually_exclusive_group()
    report.add_argument("--no-report", action="store_true",
                        help="leave report.html out, which takes as long as the network")
    report.add_argument("--pictures", action="store_true",
                        help="also write the sections that the report shows as PNG files")
    _add_columns(parser)
    _add_content(parser)
    _add_network(parser)


def _add_dm(commands) -> None:
    parser = _command(commands, "dm", _run_dm, "density modification with a mask for every cycle", """
Improves experimental phases by solvent flattening, histogram matching and phase combination, with
the solvent mask renewed in every cycle.  Writes dm.mtz (input columns and FWT, PHWT, FOM, HLA-HLD),
mask.ccp4, result.json and report.html; with Parrot also its log and a script that repeats its runs.""")
    parser.add_argument("mtzin", metavar="IN.mtz", help="amplitudes with experimental phases")
    _add_output(parser)
    parser.add_argument("--mask", default="unet", metavar="unet|variance|FILE.ccp4",
                        help="where masks come from: the network (default), local variance (the "
                             "classical way; with Parrot its own mask), or a map with 1 = solvent "
                             "that is used in all cycles")
    parser.add_argument("--cycles", type=int, default=10, metavar="N", help="default: 10")
    parser.add_argument("--ncs-sites", metavar="SITES.pdb",
                        help="heavy atoms by which non-crystallographic symmetry is looked for; "
                             "the map is averaged over it. Default: no averaging")
    _add_engine(parser)
    _add_columns(parser)
    _add_content(parser)
    _add_network(parser)


def _add_engine(parser) -> None:
    group = parser.add_argument_group("program that modifies the density")
    group.add_argument("--engine", choices=["auto", "embedded", "parrot"], default="auto",
                       help="auto is the embedded engine, also where there is a Parrot, unless one "
                            "of the following options is given")
    group.add_argument("--parrot", metavar="PATH",
                       help="use this cparrot; default for --engine parrot: what the environment "
                            "variable CRANK2_UNET_PARROT names, then PATH, then $CCP4/bin")
    group.add_argument("--parrot-options", default="", metavar="'OPTIONS'",
                       help="use Parrot with further options, for instance for NCS: "
                            "--parrot-options='-pdbin-ha sites.pdb'")


def _add_mask_server(commands) -> None:
    parser = _command(commands, "mask-server", _run_mask_server, "masks for a Parrot of your own", """
Runs a Parrot that knows -mask-command and gives it the network's mask in each cycle.  The network
is loaded once.  Write the command after --, with -mskin FILE -mskin-value soft -mask-command
'crank2-unet mask-client' in it; its exit status is that of this command.""")
    parser.add_argument("mtzin", metavar="IN.mtz", help="the data that Parrot gets")
    parser.add_argument("program", nargs="+", metavar="-- COMMAND", help="Parrot and its options")
    _add_columns(parser)
    _add_content(parser)
    _add_network(parser)
    parser = _command(commands, "mask-client", _run_mask_client, "the -mask-command of mask-server", """
Asks 'crank2-unet mask-server' for the mask of a map; Parrot runs it by itself.""")
    for name in ("map", "mask", "cycle"):
        parser.add_argument(name, metavar=name.upper())


def _add_phase(commands) -> None:
    parser = _command(commands, "phase", _run_phase, "SAD phases from data and known sites", """
Phases F(+), F(-) or I(+), I(-) with known sites of one anomalous scatterer; occupancies, B factors,
positions and errors are refined.  Writes phased.mtz (F, SIGF, HLA-HLD, PHIB, FOM), sites.pdb,
result.json and report.html.""")
    parser.add_argument("mtzin", metavar="IN.mtz", help="Friedel mates: F(+), F(-) or I(+), I(-)")
    _add_output(parser)
    parser.add_argument("--sites", required=True, metavar="SITES.pdb",
                        help="every atom in it is taken as a site")
    parser.add_argument("--element", required=True, metavar="Se", help="of the sites")
    parser.add_argument("--wavelength", type=float, metavar="A",
                        help="for theoretical f' and f''; default: that of the MTZ file")
    parser.add_argument("--f-prime", type=float, metavar="E", help="f' in electrons")
    parser.add_argument("--f-double-prime", type=float, metavar="E", help="f'' in electrons")
    parser.add_argument("--hand", choices=["given", "both"], default="given",
                        help="both: also phase the other hand of the sites")
    parser.add_argument("--cycles", type=int, default=5, metavar="N",
                        help="of site refinement; default: 5")
    parser.add_argument("--colin-fpm", metavar="F+,SIGF+,F-,SIGF-", help="columns of amplitudes")
    parser.add_argument("--colin-ipm", metavar="I+,SIGI+,I-,SIGI-", help="columns of intensities")


def _add_hand(commands) -> None:
    parser = _command(commands, "hand", _run_hand, "which of two hands is right", """
Compares amplitudes phased in either hand, such as phased.mtz and phased_other_hand.mtz of 'crank2-unet
phase --hand both', and gives the probability of each.  Writes result.json and report.html.""")
    parser.add_argument("first", metavar="IN.mtz", help="amplitudes with experimental phases")
    parser.add_argument("other", metavar="OTHER.mtz", help="the same in the other hand")
    _add_output(parser)
    _add_columns(parser)
    _add_network(parser)


def _add_check(commands) -> None:
    parser = _command(commands, "check", _run_check, "is this installation usable?", """
Reports versions, the model and its self-test, the devices that really start, seconds for one window,
and whether Parrot, CCP4 and Crank2 are found.""")
    parser.add_argument("--model", metavar="CARD.json", help="model card; default: the packaged one")


def _add_crank2(commands) -> None:
    for name, summary in [
            ("status", "is option dmmask there in Crank2?"),
            ("install", "write files into Crank2's folder, where the import hook is not at work"),
            ("uninstall", "remove these files again")]:
        parser = _command(commands, name, _run_crank2, summary, """
Usually there is nothing to do: installing crank2-unet with pip in the Python that runs Crank2
(ccp4-python) gives it the option dmmask, through an import hook that touches no file of CCP4.""")
        parser.set_defaults(task=name)
        parser.add_argument("--crank2", metavar="DIR",
                            help="folder with crank2.py; default: in $CCP4 and in this Python")


def _add_model(commands) -> None:
    from ..training.cli import add_commands

    add_commands(commands.add_parser(
        "model", help="prepare, train, export and evaluate networks",
        description="For those who train networks; needs 'pip install crank2-unet[train]'."))


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


def _add_content(parser) -> None:
    group = parser.add_argument_group("content of the crystal").add_mutually_exclusive_group()
    group.add_argument("--seq", metavar="FILE", help="sequence of one copy, FASTA or PIR")
    group.add_argument("--residues", type=int, metavar="N", help="residues of one copy")
    parser.add_argument("--solvent-content", type=float, metavar="X",
                        help="fixes the solvent content, 0-1; default: estimated")


def _add_network(parser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument("--model", metavar="CARD.json", help="model card; default: the packaged one")
    group.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto",
                       help="auto: the GPU if it really starts, else the CPU")
    group.add_argument("--threads", type=int, metavar="N",
                       help="CPU threads; default: the cores this process may use")


def _run_segment(options) -> None:
    from ..jobs import commands as jobs

    with _progress("segmenting") as progress:
        result = jobs.run_segment(options.mtzin, options.output, _columns(options),
                                  _content(options), _choice(options), progress,
                                  not options.no_report, options.pictures)
    _print_solvent(result)
    _print_end(options)


def _run_dm(options) -> None:
    from ..jobs import commands as jobs

    engine = jobs.EngineChoice(options.engine, options.parrot, options.parrot_options,
                               options.ncs_sites)
    with _progress("modifying density") as progress:
        result = jobs.run_dm(options.mtzin, options.output, _columns(options), _content(options),
                             _choice(options), options.mask, options.cycles, progress, engine)
    _print_solvent(result)
    print(f"Mask:             {options.mask}, in each of {options.cycles} cycles")
    print(f"Engine:           {_engine(result)}")
    for ncs in result.get("ncs", []):
        print(f"NCS operator:     {ncs['operator']}, over {ncs['volume']:.2f} of the asymmetric unit, "
              f"correlation {ncs['correlation']:.2f}")
    print(f"Figure of merit:  {result['cycles'][-1]['fom']:.3f}")
    _print_end(options)


def _run_mask_server(options) -> int:
    from ..jobs import commands as jobs

    return jobs.run_mask_server(options.mtzin, options.program, _columns(options),
                                _content(options), _choice(options))


def _run_mask_client(options) -> int:
    from ..parrot import mask_client

    return mask_client.main([options.map, options.mask, options.cycle])


def _run_phase(options) -> None:
    from ..jobs import commands as jobs
    from ..sad.phasing import Scatterer

    scatterer = options.element.capitalize()
    if (options.f_prime is None) != (options.f_double_prime is None):
        raise Crank2UnetError("Give both --f-prime and --f-double-prime, or neither.")
    if options.f_prime is not None:
        scatterer = Scatterer(scatterer, options.f_prime, options.f_double_prime)
    with _progress("phasing") as progress:
        result = jobs.run_phase(options.mtzin, options.output, options.sites, scatterer,
                                options.hand, options.colin_fpm, options.colin_ipm,
                                options.wavelength, options.cycles, progress)
    used = result["scatterer"]
    print(f"Scatterer:        {used['element']}, f' = {used['f_prime']:.2f}, "
          f"f'' = {used['f_double_prime']:.2f}")
    for hand in result["phasing"]["hands"]:
        print(f"Figure of merit:  {hand['statistics']['fom']:.3f} "
              f"({hand['hand']} hand, {hand['spacegroup']}, {hand['outputs']['mtz']})")
    _print_end(options)


def _run_hand(options) -> None:
    from ..jobs import hand

    result = hand.run_hand(options.first, options.other, options.output, _columns(options),
                           _choice(options))
    print("probability  map correlation  contrast  skewness  space group  file")
    for row in result["hands"]:
        print(f"{row['probability']:11.3f}  {row['map_correlation']:8.2f} +- "
              f"{row['uncertainty']:.2f}  {row['contrast']:8.3f}  {row['skewness']:8.3f}  "
              f"{row['spacegroup']:11s}  {row['file']}")
    _print_end(options)


def _run_check(options) -> int:
    from ..check import check_installation, exit_status, render

    lines = check_installation(options.model)
    print(render(lines))
    return exit_status(lines)


def _run_crank2(options) -> None:
    from ..crank2 import shim

    folders = shim.find_crank2(options.crank2)
    if options.task == "status":
        print("\n".join(shim.status(folders)))
    elif not folders:
        raise Crank2UnetError("No Crank2 was found in $CCP4 or in this Python. Name its folder with "
                              "--crank2.")
    else:
        task = shim.install if options.task == "install" else shim.uninstall
        paths = [path for folder in folders for path in task(folder)]
        print("\n".join(f"{options.task}ed {path}" for path in paths) or "nothing to remove")


def _columns(options):
    from ..jobs.commands import Columns

    return Columns(options.colin_fo, options.colin_hl, options.colin_phifom, options.colin_fc)


def _content(options):
    from ..jobs.commands import Content

    return Content(options.seq, options.residues, options.solvent_content)


def _choice(options):
    from ..jobs.commands import NetworkChoice

    return NetworkChoice(options.model, options.device, options.threads)


class _progress:
    """A progress line on stderr; one line each 5 seconds where stderr is a log file."""

    def __init__(self, what: str):
        self._what = what

    def __enter__(self):
        from tqdm import tqdm

        self._bar = tqdm(desc=self._what, mininterval=0.2 if sys.stderr.isatty() else 5.0)
        return self._update

    def _update(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_) -> None:
        self._bar.close()


def _print_solvent(result: dict) -> None:
    from ..report.page import RULES, likely_copies, quality_caveat

    solvent, device = result["solvent_content"], result["device"]
    print(f"Input columns:    {'; '.join(result['input']['labels'].values())}")
    print(f"Solvent content:  {solvent['value']:.3f} ({RULES[solvent['rule']]}"
          + (f"; network alone: {solvent['unet_expected']:.3f})" if device else ")"))
    copies = likely_copies(solvent)
    if copies:
        print(f"Copies:           {copies['copies']} in the asymmetric unit, "
              f"probability {copies['joint']:.2f}")
    quality = result.get("map_quality")
    if quality:
        print(f"Map quality:      correlation with the true map about {quality['correlation']:.2f} "
              f"+- {quality['uncertainty']:.2f}{quality_caveat(result)}")
    if device:
        print(f"Network:          {result['model']['name']} {result['model']['version']} "
              f"on {device['used']}")


def _engine(result: dict) -> str:
    """What modified the density, and how it got its masks."""
    if result["engine"] == "embedded":
        asked = "; auto is the embedded engine" if result["engine_asked"] == "auto" else ""
        return f"embedded{asked}"
    used = result["parrot"]
    kind = "patched" if used["patched"] else "unpatched"
    version = used["version"] or "of unknown version"
    return f"Parrot {version} ({used['path']}), {kind}; masks by {used['masks']}"


def _print_end(options) -> None:
    report = not getattr(options, "no_report", False)
    print(f"Results in {options.output}{'; open report.html there' if report else ''}.")
