"""``crank2-unet model ...``: from deposited structures to a calibrated, evaluated network."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
from pathlib import Path

from ..errors import InputError

_log = logging.getLogger(__name__)
# commands whose modules parse the rest of the command line themselves
_SIMPLE = {
    "train": ("fitting.command", "train a network on prepared structures"),
    "solvent-prior": ("calibration.solvent_prior",
                      "fit the prior of solvent contents to deposited structures"),
    "histograms": ("calibration.protein_statistics",
                   "make the table of protein density histograms"),
}


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands to the parser of ``crank2-unet model``."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_prepare(commands)
    for name, (module, summary) in _SIMPLE.items():
        simple = commands.add_parser(name, help=summary, add_help=False)
        simple.set_defaults(run=_pass_on, module=module)
    _add_export(commands)
    _add_evaluate(commands)
    _add_quality(commands)
    _add_evaluate_quality(commands)
    _add_verdict(commands)
    _add_validate(commands)


def _add_prepare(commands) -> None:
    parser = _command(commands, "prepare", _prepare, "make the maps and masks to train with", """
From FOLDER: simulates a SAD experiment for each deposited structure of a split, phases it as
'crank2-unet phase' does, and stores the maps with the true solvent mask.  From the PDB or a folder of
its files: phases the deposited Friedel mates from the deposited anomalous scatterers, leaves out what
the paper left out, and sets entries aside for validation.  What is there is kept, so that an
interrupted run is continued by repeating the command.""")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("structures", metavar="FOLDER", nargs="?",
                        help="index.csv and CODE.cif.gz files")
    source.add_argument("--from-pdb", action="store_true", help="all SAD structures of the PDB")
    source.add_argument("--from-folder", metavar="FOLDER", help="CODE.cif.gz and CODE-sf.cif.gz files")
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    parser.add_argument("--limit", type=int, metavar="N",
                        help="structures, chosen at random; default: all")
    parser.add_argument("--later-cycles", type=int, metavar="N", help="maps after density modification "
                        "for each experiment; default: 1, of the PDB 0")
    parser.add_argument("--seed", type=int, default=0)
    simulated = parser.add_argument_group("simulated experiments")
    simulated.add_argument("--split", choices=["train", "validation", "test"], help="default: train")
    simulated.add_argument("--variants", type=int, metavar="N",
                           help="experiments for each structure; default: 1")
    simulated.add_argument("--first-variant", type=int, metavar="N",
                           help="number of the first of these, to add to a folder; default: 0")
    simulated.add_argument("--overconfident", type=int, metavar="N",
                           help="how often each is shown with phases that claim too much, and with "
                           "later maps of these; default: 1")
    simulated.add_argument("--masks-of", metavar="CARD.json", help="model whose masks make the maps "
                           "after density modification; default: classical and damaged true masks")
    simulated.add_argument("--both-hands", action="store_true", default=None,
                           help="phase with the other hand of the sites, too")
    simulated.add_argument("--largest-volume", type=float, metavar="A^3",
                           help="of the cell; default: 1.8e6")
    deposited = parser.add_argument_group("deposited data")
    deposited.add_argument("--d-min-from", type=float, metavar="A",
                           help="--from-pdb: only entries whose d_min is at least this")
    deposited.add_argument("--clusters", metavar="FILE", help="--from-folder: clusters of sequences, "
                           "one on a line (1ABC_1 2XYZ_1); without it none is kept for validation")
    deposited.add_argument("--keep-out", metavar="FILE", help="codes of entries to leave out with all "
                           "their families, such as those that the network will be judged by")
    deposited.add_argument("--substructure", metavar="COMMAND", action="append", help="finds the "
                           "substructure; of several the next where one finds none that is correct; "
                           "placeholders: {data} {sequence} {element} {wavelength} {output} {folder}; "
                           "default: the deposited one")
    deposited.add_argument("--phasing", metavar="COMMAND", help="phases; the same placeholders and "
                           "{sites}; default: as 'crank2-unet phase' does")
    _add_dask(parser)


def _add_export(commands) -> None:
    parser = _command(commands, "export", _export, "calibrate a network and write its card", """
Exports a checkpoint to ONNX, calibrates its probabilities and its solvent contents on prepared
structures that it was not trained on, and writes solvent.onnx with its card solvent.json.""")
    parser.add_argument("checkpoint", help="checkpoint.npz of a training")
    parser.add_argument("prepared", help="folder of prepared structures to calibrate on")
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    parser.add_argument("--version", required=True, metavar="X.Y.Z", help="of the model")
    parser.add_argument("--training", metavar="DIR",
                        help="folder of the structures trained on; default: as in the checkpoint")
    parser.add_argument("--limit", type=int, metavar="N", help="files used; default: all")
    _add_dask(parser)


def _add_evaluate(commands) -> None:
    parser = _command(commands, "evaluate", _evaluate, "accuracy of masks on unseen structures", """
Compares the network's masks with those of the models, beside masks by local variance and the larger
class, and its solvent contents with the true ones.""")
    parser.add_argument("prepared", help="folder of prepared structures")
    _add_card(parser)
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    parser.add_argument("--index", metavar="index.csv", help="for the chains of each structure")
    parser.add_argument("--limit", type=int, metavar="N", help="files used; default: all")
    parser.add_argument("--fill-card", action="store_true", help="write the results into the card")
    _add_dask(parser)


def _add_quality(commands) -> None:
    parser = _command(commands, "quality", _quality, "calibrate the judgement of maps and hands", """
Fits the expected map correlation, the probability of a hand and the warning of maps without solvent
structure to structures that were prepared with --both-hands, and writes them into the model card.""")
    parser.add_argument("prepared", help="folder of structures prepared in both hands")
    _add_card(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="files used; default: all")
    _add_dask(parser)


def _add_verdict(commands) -> None:
    parser = _command(commands, "verdict", _verdict, "fit the verdict after density modification", """
Modifies the density of structures that were prepared with --both-hands, in both hands and with random
phases, and prints what the verdict of 'crank2-unet dm' goes by, and how often it is right.""")
    parser.add_argument("prepared", help="folder of structures prepared in both hands")
    _add_card(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="files used; default: all")
    _add_dask(parser)


def _add_evaluate_quality(commands) -> None:
    parser = _command(commands, "evaluate-quality", _evaluate_quality,
                      "test the judgement of maps and hands", """
Tells how often the right hand is found, beside contrast and skewness, and how good the expected map
correlations are, on structures that were prepared with --both-hands.""")
    parser.add_argument("prepared", help="folder of structures prepared in both hands")
    _add_card(parser)
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    parser.add_argument("--limit", type=int, metavar="N", help="files used; default: all")
    _add_dask(parser)


def _add_validate(commands) -> None:
    parser = _command(commands, "validate", _validate,
                      "density modification with and without the network's mask", """
Modifies the density of data sets whose model is known, with the network's mask and with others or by
any two commands, everything else equal, and compares phases, maps, figures of merit and solvent
contents with those of the model.  Writes validation.html, validation.json, tables.txt and the figures.
Results of single data sets are kept, so that an interrupted run is continued by repeating the
command.""")
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="folder of a measured data set, "
                        "cut to a resolution if FOLDER@D_MIN is given; folder of such folders; of "
                        "prepared structures; of structures with index.csv, which are simulated")
    _add_card(parser)
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    parser.add_argument("--masks", metavar="NAME,...", help="masks, each compared with the first: "
                        "network, variance, classical, best variance, model, flat; default: the first "
                        "three")
    parser.add_argument("--a", metavar="COMMAND",
                        help="instead of masks: the command with which --b is compared")
    parser.add_argument("--b", metavar="COMMAND", help="the command compared; placeholders: {data} "
                        "{sequence} {sites} {residues} {solvent} {cycles} {output} {folder}")
    parser.add_argument("--cycles", type=int, metavar="N",
                        help="default: until held-back amplitudes agree no better; with Parrot 10")
    parser.add_argument("--from-sites", action="store_true", default=None,
                        help="phase measured data with 'crank2-unet phase' first")
    parser.add_argument("--ncs", action="store_true", default=None,
                        help="average over copies that sites of measured data, or maps, show")
    parser.add_argument("--parrot", metavar="PROGRAM", help="Parrot, which modifies the density "
                        "instead of crank2-unet; local variance is then its own mask")
    parser.add_argument("--building", metavar="COMMAND", help="builds a model into the phases of each "
                        "run, in {data}, and prints R-free; the same placeholders")
    parser.add_argument("--split", choices=["train", "validation", "test"],
                        help="of structures; default: test")
    parser.add_argument("--limit", type=int, metavar="N",
                        help="prepared data sets or structures of each source; default: all")
    parser.add_argument("--errors", type=float, nargs=2, metavar=("LOW", "HIGH"),
                        help="prepared data sets: range of the starting phase errors, degrees")
    parser.add_argument("--largest-volume", type=float, metavar="A^3",
                        help="prepared data sets: of the cell; default: no limit")
    parser.add_argument("--from-json", nargs="+", metavar="validation.json",
                        help="page, tables and figures of these reports together, and no runs")
    _add_dask(parser)


def _command(commands, name: str, run, summary: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=text.strip())
    parser.set_defaults(run=run)
    return parser


def _add_card(parser) -> None:
    parser.add_argument("--model", metavar="CARD.json", help="default: the packaged model")


def _add_dask(parser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", default=1,
                        help="processes on this machine, or jobs of a batch system; default: 1")
    parser.add_argument("--scheduler", metavar="ADDRESS",
                        help="of a Dask scheduler, or slurm, pbs, sge (docs/clusters.md)")


def _pass_on(options) -> None:
    """Commands with an argument parser of their own."""
    importlib.import_module(f"{__package__}.{options.module}").main(options.rest)


_SIMULATED = ("split", "variants", "first_variant", "overconfident", "masks_of", "both_hands",
              "largest_volume")
_DEPOSITED = ("d_min_from", "clusters", "keep_out", "substructure", "phasing")


def _prepare(options) -> None:
    """Only options that were given are handed on: the functions have the defaults."""
    shared = _given(options, ("limit", "later_cycles", "seed", "workers", "scheduler"))
    if options.structures:
        _refuse(options, _DEPOSITED, "--from-pdb or --from-folder")
        _prepare_simulated(Path(options.structures), options.output,
                           {**shared, **_given(options, _SIMULATED)})
    else:
        _refuse(options, _SIMULATED, "a FOLDER of structures")
        _prepare_deposited(options, shared)


def _given(options, names: tuple[str, ...]) -> dict:
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _refuse(options, names: tuple[str, ...], source: str) -> None:
    if found := _given(options, names):
        raise InputError(f"--{next(iter(found)).replace('_', '-')} goes with {source}.")


def _prepare_simulated(folder: Path, out: str, settings: dict) -> None:
    from .preparation.prepare import prepare

    done = prepare(folder / "index.csv", folder, out, **settings)
    print(f"{done.written} written, {done.existing} existed, {len(done.failures)} failed")
    for name, message in done.failures.items():
        print(f"  {name}: {message}")


def _prepare_deposited(options, shared: dict) -> None:
    from .commands import from_anywhere
    from .deposited.collect import from_folder, from_pdb, read_codes, render
    from .deposited.programs import CRANK2_UNET, Programs

    shared["programs"] = Programs(tuple(map(from_anywhere, options.substructure or ())),
                                  options.phasing and from_anywhere(options.phasing))
    if os.environ.get("CCP4") and shared["programs"] == CRANK2_UNET:
        _log.warning("CCP4 is set up, but not used. To phase with Crank2 and REFMAC5 as the paper did, "
                     "give --substructure and --phasing (docs/pdb.md).")
    if options.keep_out:
        shared["keep_out"] = read_codes(options.keep_out)
    if options.from_pdb:
        _refuse(options, ("clusters",), "--from-folder")
        manifest = from_pdb(options.output, None, options.d_min_from, **shared)
    else:
        _refuse(options, ("d_min_from",), "--from-pdb")
        manifest = from_folder(options.from_folder, options.output, options.clusters, **shared)
    print(render(manifest))


def _export(options) -> None:
    from .calibration.calibrate import make_card

    card = make_card(options.checkpoint, options.prepared, options.output, options.version,
                     training=options.training, limit=options.limit, workers=options.workers,
                     scheduler=options.scheduler)
    print(f"Model card {card}")


def _evaluate(options) -> None:
    from ..network.model_card import ModelCard
    from .evaluation.masks import evaluate_masks, render

    card = ModelCard.read(options.model).path
    print(render(evaluate_masks(options.prepared, card, options.output, options.index,
                                limit=options.limit, fill_card=options.fill_card,
                                workers=options.workers, scheduler=options.scheduler)))


def _quality(options) -> None:
    from .calibration.map_quality import calibrate_quality, render

    print(render(calibrate_quality(options.prepared, options.model, options.workers,
                                   options.scheduler, options.limit)))


def _verdict(options) -> None:
    from .calibration.verdict import calibrate_verdict

    print(calibrate_verdict(options.prepared, options.model, options.workers, options.scheduler,
                            options.limit))


def _evaluate_quality(options) -> None:
    from .calibration.map_quality import evaluate_quality, render

    print(render(evaluate_quality(options.prepared, options.model, options.output, options.workers,
                                  options.scheduler, options.limit)))


# options of validate: what is done with a data set, and which are taken and by whom; the functions have
# the defaults
_PROTOCOL = ("masks", "cycles", "from_sites", "ncs", "parrot", "building")
_CHOICE = ("split", "limit", "errors", "largest_volume", "scheduler")


def _validate(options) -> None:
    from .commands import from_anywhere
    from .evaluation.page import render
    from .evaluation.validate import Protocol, read, validate, write

    if bool(options.from_json) == bool(options.sources):
        raise InputError("Give either data sets or --from-json.")
    if options.from_json:
        _refuse(options, ("a", "b", "model", *_PROTOCOL, *_CHOICE), "data sets, not with --from-json")
        report = read(options.from_json)
        write(report, options.output)
    else:
        if options.a or options.b:
            _refuse(options, ("masks", "ncs", "parrot"), "masks, not with --a and --b")
        how = _given(options, _PROTOCOL)
        if options.masks:
            how["masks"] = tuple(options.masks.split(","))
        if options.building:
            how["building"] = from_anywhere(options.building)
        commands = tuple(map(from_anywhere, filter(None, (options.a, options.b))))
        report = validate(options.sources, options.model, options.output,
                          Protocol(commands=commands, **how), workers=options.workers,
                          **_given(options, _CHOICE))
    print(render(report))
