"""``model validate``: paired runs of many data sets, with and without the network's mask or by any two
commands, and what they tell.

Each data set gives one record, made by one function in a worker; tables, figures and page are made
of the records alone, so that they can be made anew from ``validation.json``.
"""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ... import __version__
from ...errors import InputError
from ...files.output import staged, write_json
from ...network.model_card import ModelCard
from ...network.session import SolventNet
from ..commands import Command
from ..parallel import Kept, run_all, sha256
from ..preparation.prepare import LARGEST_VOLUME, prepare
from ..preparation.prepared import PreparedHeader, prepared_files
from .cases import Case
from .command_runs import PLACEHOLDERS, build_model, run_command
from .mask_runs import DEFAULT_MASKS, MASKS, run_masks, segment_case, segmentation_scores
from .page import write_page

_log = logging.getLogger(__name__)
SCHEMA = 1
REPORT = "validation.json"


@dataclass(frozen=True)
class Protocol:
    """What is done with each data set.

    Parameters
    ----------
    masks : names in :data:`~.mask_runs.MASKS`, compared with the first of them.
    commands : two command lines instead (:class:`~..commands.Command`), the second compared with the
        first.
    cycles : of density modification; None: until it converges.
    from_sites : see :meth:`~.cases.Case.read`.
    ncs : density is averaged over copies that the sites show, where the map confirms them.
    parrot : the program Parrot, which modifies the density instead of this package.
    building : command that builds a model into the phases of each run and prints R-free.

    Raises
    ------
    InputError : an unknown mask, a command that cannot be read, or one command only.
    """

    masks: tuple[str, ...] = DEFAULT_MASKS
    commands: tuple[str, ...] = ()
    cycles: int | None = None
    from_sites: bool = False
    ncs: bool = False
    parrot: str | None = None
    building: str | None = None

    def __post_init__(self):
        if unknown := set(self.masks) - set(MASKS):
            raise InputError(f'There is no mask "{sorted(unknown)[0]}". There are: '
                             f"{', '.join(MASKS)}.")
        if len(self.commands) == 1:
            raise InputError("Give two commands, --a and --b.")
        if self.cycles is not None and self.cycles < 1:
            raise InputError(f"The number of cycles is {self.cycles}. Give 1 or more.")
        for text in (*self.commands, *([self.building] if self.building else [])):
            Command(text, PLACEHOLDERS)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Names of runs that are compared: what is tested, and against what."""
        if self.commands:
            return [("b", "a")]
        first, *others = self.masks
        return [(first, other) for other in others]


def validate(sources: Sequence[str], card: str | Path | None, out: str | Path,
             protocol: Protocol = Protocol(), split: str = "test", limit: int | None = None,
             errors: tuple[float, float] | None = None, largest_volume: float = np.inf,
             workers: int = 1, scheduler: str | None = None) -> dict:
    """Run and compare; the record of each data set is kept in ``out/entries``, so that a run that was
    interrupted, or one with a larger ``limit``, goes on where it was; not of data that have changed.

    Parameters
    ----------
    sources : see :func:`find_entries`; structures are simulated into ``out/simulated`` first.
    card : of the network; None: the packaged one.
    out : folder for ``validation.json``, ``validation.html``, ``tables.txt`` and the figures.
    split : of structures.
    limit : number of prepared data sets, or structures, of each source, chosen at random; None: all.
    errors : range of the mean error of the starting phases of prepared data sets, degrees.
    largest_volume : of the cell of prepared data sets, cubic Angstrom.
    workers, scheduler : see :func:`~crank2_unet.training.parallel.run_all`.

    Returns
    -------
    The report: settings, entries (name -> :func:`validate_entry`) and failures (name -> message).
    """
    model = ModelCard.read(card)
    out = Path(out).resolve()
    given = []
    for source in sources:
        if (Path(source) / "index.csv").exists():
            prepare(Path(source) / "index.csv", source, out / "simulated", split, limit,
                    later_cycles=0, workers=workers, scheduler=scheduler,
                    largest_volume=min(largest_volume, LARGEST_VOLUME))
            source = str(out / "simulated")
        given.append(source)
    entries = find_entries(given, limit, errors, largest_volume)
    settings = {**asdict(protocol), "model": model.sha256, "version": __version__}
    jobs = {name: (str(path), d_min, str(model.path.resolve()), protocol)
            for name, (path, d_min) in entries.items()}
    made_from = {name: sha256(*sorted(file for file in (path, *path.glob("*")) if file.is_file()))
                 for name, (path, _) in entries.items()}
    records, failures = run_all(validate_entry, jobs, workers, scheduler,
                                Kept(out / "entries", json.loads(json.dumps(settings)), made_from))
    report = {"schema": SCHEMA, "settings": settings, "pairs": protocol.pairs,
              "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
              "entries": records, "failures": failures}
    write(report, out)
    return report


def write(report: dict, out: str | Path) -> None:
    """The report with its page, tables and figures into a folder."""
    with staged(out) as stage:
        write_json(report, stage / REPORT)
        write_page(json.loads((stage / REPORT).read_text()), stage)


def read(paths: Sequence[str | Path]) -> dict:
    """One report of those in several files, compressed or not, which must be of the same protocol,
    model and version.

    Raises
    ------
    InputError : not a report, or reports that cannot be compared.
    """
    report: dict = {}
    for path in paths:
        try:
            opened = gzip.open if Path(path).suffix == ".gz" else open
            with opened(path, "rt") as file:
                found = json.load(file)
            schema, settings = found["schema"], found["settings"]
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no report of 'crank2-unet model validate' "
                             f"({error}).") from error
        if schema != SCHEMA:
            raise InputError(f"{path} has the format {schema}, not {SCHEMA}. Make it again.")
        if report and settings != report["settings"]:
            told = (f"{name} {report['settings'].get(name)} there, {value} here"
                    for name, value in settings.items() if value != report["settings"].get(name))
            raise InputError(f"{path} is of other runs than {paths[0]}: {'; '.join(told)}. Give "
                             "reports of the same runs.")
        merged = {key: {**report.get(key, {}), **found[key]} for key in ("entries", "failures")}
        report = {**found, **merged}
    return report


def find_entries(sources: Sequence[str], limit: int | None = None,
                 errors: tuple[float, float] | None = None, largest_volume: float = np.inf,
                 ) -> dict[str, tuple[Path, float | None]]:
    """Data sets by name: their folder or file and the resolution to cut them at, Angstrom.

    Parameters
    ----------
    sources : each the folder of a measured data set (with data.mtz), cut if "@2.8" follows; a folder
        of such folders; or a folder of prepared structures.
    limit, errors, largest_volume : see :func:`validate`.

    Raises
    ------
    InputError : a folder without data sets, or two data sets of one name.
    """
    entries: dict[str, tuple[Path, float | None]] = {}
    for source in sources:
        for name, entry in _entries_of(source, limit, errors, largest_volume):
            if name in entries:
                raise InputError(f"{name} is in two folders, {entries[name][0].parent} and "
                                 f"{entry[0].parent}. Give each data set once.")
            entries[name] = entry
    return entries


def _entries_of(source: str, limit: int | None, errors: tuple[float, float] | None,
                largest_volume: float) -> Iterator[tuple[str, tuple[Path, float | None]]]:
    place, _, cut = source.partition("@")
    folder = Path(place).resolve()
    if (folder / "data.mtz").exists():
        try:
            yield folder.name + (f"@{cut}" if cut else ""), (folder, float(cut) if cut else None)
        except ValueError:
            raise InputError(f"{source}: {cut} is no resolution in Angstrom.") from None
    elif measured := sorted(folder.glob("*/data.mtz")):
        for path in measured:
            yield path.parent.name, (path.parent, None)
    elif folder.is_dir() and any(folder.glob("*.npz")):
        headers = {file: PreparedHeader.read(file) for file in prepared_files(folder)}
        fit = [file for file, header in headers.items() if _fits(header, errors, largest_volume)]
        if trained := sum(headers[file].split == "train" for file in fit):
            _log.warning("%s: %d prepared structures are of the split that networks are trained on: "
                         "they tell nothing of new ones.", folder, trained)
        if not fit:
            raise InputError(f"No prepared structure in {folder} is within the limits of the phase "
                             "errors and the cell. Widen them.")
        for i in np.random.default_rng(0).permutation(len(fit))[:limit]:
            yield fit[i].stem, (fit[i], None)
    else:
        raise InputError(f"{source} has no data sets: neither data.mtz, nor folders with one, nor "
                         "prepared structures (*.npz), nor index.csv with coordinates.")


def _fits(header: PreparedHeader, errors: tuple[float, float] | None, largest_volume: float) -> bool:
    return header.cell.volume <= largest_volume and (
        errors is None or errors[0] <= header.phase_error[0] <= errors[1])


def validate_entry(path: str, d_min: float | None, card: str, protocol: Protocol) -> dict:
    """The record of one data set.

    Returns
    -------
    kind, spacegroup, d_min, n_measured, completeness; device, of the network; solvent
    (:func:`~.mask_runs.segment_case`); segmentation (:func:`~.mask_runs.segmentation_scores`); runs:
    "start" and each mask or command ("a", "b") -> :meth:`~.scores.Truth.scores`, with r_free if models
    were built; seconds: of CPU time, by run.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "reading"):
        case = Case.read(Path(path), d_min, protocol.from_sites)
    net = SolventNet.load(card, "cpu", threads=1)
    with _timed(seconds, "segmentation"):
        found, solvent = segment_case(case, net)
    runs = {"start": case.truth.scores(case.start)}
    if protocol.commands:
        phases = {}
        for name, text in zip("ab", protocol.commands):
            with _timed(seconds, name):
                phases[name] = run_command(Command(text, PLACEHOLDERS), case,
                                           found.solvent.value, protocol.cycles)
            runs[name] = case.truth.scores(phases[name])
    else:
        made = run_masks(case, found, net, protocol.masks, protocol.cycles, protocol.ncs,
                         protocol.parrot)
        phases = {}
        for name in [mask for mask in MASKS if mask in protocol.masks]:
            with _timed(seconds, name):
                _, run = next(made)
            phases[name], runs[name] = run
    if protocol.building:
        for name, one in phases.items():
            with _timed(seconds, f"building {name}"):
                runs[name]["r_free"] = build_model(Command(protocol.building, PLACEHOLDERS), case, one)
    r, measured = case.data.reflections, np.isfinite(case.data.f)
    return {"kind": case.kind, "spacegroup": r.spacegroup.xhm(), "d_min": r.d_min,
            "n_measured": int(measured.sum()), "completeness": float(measured.mean()),
            "device": asdict(net.device),
            "solvent": solvent, "segmentation": segmentation_scores(case, found), "runs": runs,
            "seconds": seconds}


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """CPU seconds of a block, of programs that it ran, too."""
    start = sum(_cpu())
    yield
    seconds[name] = round(sum(_cpu()) - start, 2)


def _cpu() -> tuple[float, ...]:
    import resource

    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return tuple(u.ru_utime + u.ru_stime for u in used)
