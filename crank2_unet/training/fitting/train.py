"""Training of the network: one script from prepared structures to a checkpoint.

    crank2-unet model train prepared/train prepared/validation run1 --minutes 120

cuts the windows that are missing (``prepared/*/windows``) and leaves in ``run1`` the checkpoint
(``checkpoint.npz``), the log (``log.csv``) and its picture (``log.png``), renewed at each validation,
and the list of what was learnt from (``data.json``).  ``--resume`` continues from the checkpoint,
whenever and however the training ended.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import closing
from math import ceil, nan
from pathlib import Path

from numpy import ndarray
from tqdm import tqdm

from ...errors import InputError
from ...files.output import staged_file
from ...network.model_card import ModelCard
from ..preparation.prepared import makers
from ..preparation.sampling import Batch, Windows, read_ahead
from ..preparation.windows import WindowSettings, cut_windows
from .log import plot, write_rows
from .settings import TrainConfig
from .speed import Pace, matrix_peak, training_flops
from .start import load_onnx_weights
from .trainer import Trainer

_log = logging.getLogger(__name__)
_BATCH = 16  # windows predicted at once


def windows_of(config: TrainConfig) -> tuple[Windows, Windows]:
    """Windows to learn from and to validate on, the latter each of another map; cut if need be."""
    settings = WindowSettings(config.input, config.window, config.windows_per_map)
    ours, theirs = (", ".join(sorted(makers(folder)))
                    for folder in (config.training, config.validation))
    if ours != theirs:
        _log.warning("The maps to learn from were prepared by %s, those to validate on by %s. Their "
                     "errors may be unlike, and the validation misjudges the network then: prepare "
                     "both with the same code.", ours, theirs)
    return (Windows(cut_windows(config.training, "train", settings, config.workers), config.seed),
            # the same ones for every seed of the training, so that runs can be compared
            Windows(cut_windows(config.validation, "validation", settings, config.workers), 0,
                    one_of_each_map=True))


def train(config: TrainConfig, resume: bool = False, sources: Callable = windows_of) -> Path:
    """Train a network; progress, pace and time left on stderr.

    Parameters
    ----------
    config : all settings.
    resume : continue from the checkpoint in the output folder.
    sources : gives two objects like :class:`~.sampling.Windows` for the settings.

    Returns
    -------
    Path of the checkpoint, for :func:`~.trainer.load_network`.

    Raises
    ------
    InputError : no prepared structures, those of another split, or an output folder that already holds
        another training.
    """
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = output / "checkpoint.npz"
    if checkpoint.exists() != resume:
        raise InputError(f"{checkpoint} exists: resume it or choose another folder." if not resume
                         else f"{checkpoint} is missing: there is nothing to resume.")
    training, held_out = sources(config)
    validation = [held_out.batch(i, _BATCH)
                  for i in range(ceil(config.validation_windows / _BATCH))]
    trainer = Trainer(config)
    if resume:
        trainer.load(checkpoint)
    elif config.start:
        _start_from(trainer, Path(config.start), training.batch(0, _BATCH)[0])
    _note_data(output / "data.json", trainer.step, training.provenance)
    pace = Pace(training_flops(trainer.model, config.window), matrix_peak(config.precision))

    def read(step: int) -> Batch:
        return pace.reading(training.batch, step, config.batch_size)
    began = time.monotonic() - 60 * trainer.minutes
    pace.restart()
    with closing(read_ahead(read, trainer.step)) as batches, \
            tqdm(total=1.0, initial=trainer.share, mininterval=1.0, bar_format="{percentage:3.0f}%|"
                 "{bar}| {elapsed}<{remaining} {postfix}") as bar:
        while trainer.share < 1:
            logs = pace.learning(trainer.learn, *next(batches))
            trainer.minutes = (time.monotonic() - began) / 60
            if trainer.step % config.report_every == 0 or trainer.share == 1:
                rates = pace.rates()
                trainer.report(logs, rates, trainer.validate(validation))
                trainer.save(checkpoint)
                write_rows(trainer.rows, output / "log.csv")
                plot(trainer.rows, output / "log.png")
                bar.write(f"step {trainer.step}: {pace.render(rates)}", sys.stderr)
                pace.restart()
            bar.update(trainer.share - bar.n)
            bar.set_postfix_str(f"step {trainer.step} loss {logs['loss']:.4f} validation mcc "
                                f"{trainer.rows[-1]['validation_mcc'] if trainer.rows else nan:.3f}")
    return checkpoint


def _start_from(trainer: Trainer, path: Path, windows: ndarray) -> None:
    """Take the weights of a model that sees what this training shows."""
    card = ModelCard.read(path)
    if card.input != trainer.config.input:
        raise InputError(f"{path} has the input {card.input}, the training {trainer.config.input}. "
                         "Start from a model with the same input.")
    load_onnx_weights(trainer.model, card.onnx, windows)
    trainer.average = trainer.model.get_weights()


def _note_data(path: Path, step: int, provenance: dict) -> None:
    """Add to the list of what is learnt from, and from which step on, if it is not what it was."""
    entries = json.loads(path.read_text()) if step and path.exists() else []
    if entries and entries[-1]["digest"] == provenance["digest"]:
        return
    if entries:
        _log.warning("There were %d windows, now there are %d, or others: training goes on with these, "
                     "as no uninterrupted training would.", entries[-1]["windows"],
                     provenance["windows"])
    with staged_file(path) as partial:
        partial.write_text(json.dumps([*entries, {"from_step": step, **provenance}], indent=1))
