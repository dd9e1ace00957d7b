"""Command line of ``crank2-unet model train``: one option for each setting."""

from __future__ import annotations

import argparse
import dataclasses

from .settings import TrainConfig


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crank2-unet model train",
        description="Train the network on prepared structures, from them to a checkpoint.")
    for field in dataclasses.fields(TrainConfig):
        if field.default is dataclasses.MISSING:
            parser.add_argument(field.name)
        elif isinstance(field.default, bool):
            parser.add_argument(f"--{field.name}", action="store_true")
        elif field.name != "input":
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default),
                                default=field.default, help=f"default: {field.default}")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Train as a command line says; TensorFlow is loaded once that can be read."""
    options = vars(make_parser().parse_args(arguments))
    resume, config = options.pop("resume"), TrainConfig(**options)
    from .train import train

    train(config, resume)
