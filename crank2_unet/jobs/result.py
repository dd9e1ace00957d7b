"""Contents of result.json (docs/result.md) and what is recorded for it while a job runs."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .. import __version__
from ..crystal.grids import asymmetric_unit
from ..crystal.maps import standard_spacing
from ..crystal.reflections import Reflections
from ..files.mtz_input import Input
from ..files.output import write_json
from ..network.doubts import doubts
from ..network.session import SolventNet
from ..pipeline import Segmentation
from ..report.figures import Layer
from ..report.page import DrawnSection, draw_sections, write_report
from ..report.words import SCHEMA
from ..solvent.matthews import Composition

_log = logging.getLogger(__name__)
# measured on one core with cells of 0.1 to 3.4 million cubic Angstrom, where they hold within a factor
# of two
_BYTES_OF_POINT, _SECONDS_OF_VOLUME = 140, 1.2e-5
_LARGE = 20e6  # points of a map


class Clock:
    """Seconds of each stage."""

    def __init__(self):
        self.seconds = {}
        self._start = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start

    def timings(self) -> dict:
        return {**self.seconds, "total": time.monotonic() - self._start}


class Warnings(logging.Handler):
    """Collects the warnings of a job for its result."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() not in self.messages:  # stages of a job may find the same
            self.messages.append(record.getMessage())

    def __enter__(self) -> Warnings:
        logging.getLogger("crank2_unet").addHandler(self)
        return self

    def __exit__(self, *_) -> None:
        logging.getLogger("crank2_unet").removeHandler(self)


def announce_size(reflections: Reflections, rounds: int, threads: int, d_min: float) -> None:
    """Say, before a large map is made, what memory and time it will take.

    Parameters
    ----------
    rounds : how often the network sees a map.
    threads : CPU threads.
    d_min : of the finest map, Angstrom.
    """
    volume = reflections.cell.volume
    points = volume / standard_spacing(d_min) ** 3
    if points > _LARGE:
        unit = volume / len(reflections.spacegroup.operations())
        _log.warning("The map is large, of %.0f million points: it will take roughly %.0f GB of memory "
                     "and, on %d cores, %.0f minutes.", points / 1e6, points * _BYTES_OF_POINT / 1e9,
                     threads, max(rounds * unit * _SECONDS_OF_VOLUME / threads / 60, 1))


def header(command: str, clock: Clock, warnings: Warnings, outputs: dict, part_of: str | None = None,
           ) -> dict:
    """What every result begins with; ``part_of``: command of which the job is a stage."""
    return {"schema": SCHEMA, "command": command, "part_of": part_of, "status": "ok",
            "program": {"name": "crank2-unet", "version": __version__}, "arguments": sys.argv[1:],
            "timings": clock.timings(), "outputs": outputs, "warnings": list(warnings.messages)}


def common(command: str, given: Input, net: SolventNet | None, clock: Clock, warnings: Warnings,
           outputs: dict, part_of: str | None = None) -> dict:
    """The entries that segment, dm and hand have in common."""
    card = net and {"name": net.card.name, "version": net.card.version, "sha256": net.card.sha256}
    shown = given.data.f if np.isfinite(given.data.f).any() else np.where(
        given.data.coefficients == 0, np.nan, 1)
    return {**header(command, clock, warnings, outputs, part_of), "model": card,
            "device": net and asdict(net.device),
            "input": describe_input(str(given.file.path), given.data.reflections, shown,
                                     given.labels)}


def describe_input(path: str, reflections: Reflections, f: np.ndarray, labels: dict) -> dict:
    measured = np.isfinite(f)
    return {"file": str(path), "labels": labels, "cell": list(reflections.cell.parameters),
            "spacegroup": reflections.spacegroup.xhm(), "d_min": reflections.d_min,
            "d_max": float(reflections.d[measured].max()), "n_reflections": len(reflections),
            "n_measured": int(measured.sum())}


def describe_mask(found: Segmentation) -> dict:
    unit = asymmetric_unit(found.probability)
    counts, edges = np.histogram(found.probability.array[unit], 50, (0.0, 1.0))
    cutoff = 1 / (1 + np.exp(-found.solvent.cutoff))
    return {"fraction": float(found.mask.array.mean()), "probability_cutoff": float(cutoff),
            "histogram": {"edges": edges, "counts": counts}}


def judge(found: Segmentation, given: Input, net: SolventNet, composition: Composition | None,
          ) -> dict:
    """Entries of the result on the quality of a map and on doubts about its mask, with warnings."""
    reasons = doubts(net.card, given.data.reflections, composition, found.quality,
                     found.solvent, given.model)
    for sentence in reasons.values():
        _log.warning("%s", sentence)
    return {"map_quality": found.quality and asdict(found.quality), "doubts": list(reasons),
            "composition": composition and asdict(composition)}


def finish(stage: Path, result: dict, layers: list[Layer], pictures: bool = False) -> None:
    _log.info("drawing the report")
    sections = draw_sections(layers)
    if pictures:
        result["outputs"]["pictures"] = _write_pictures(stage, sections)
    write_json(result, stage / "result.json")
    write_report(result, stage / "report.html", layers, sections)


def _write_pictures(stage: Path, sections: list[DrawnSection]) -> list[dict]:
    """Write each picture to a file of its own; returns what there is to say of each."""
    written = []
    for number, (section, pictures) in enumerate(sections, 1):
        for place, picture in enumerate(pictures, 1):
            name = f"section_{number}_{place}.png"
            (stage / name).write_bytes(picture.content)
            written.append({"file": name, "section": section, "title": picture.title})
    return written
