"""The model card: what belongs to a network beside its weights, and the hash by which they are one."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import ModelError
from ..solvent.content import CutoffDistribution
from .inputs import REVISION, InputSpec
from .map_quality import QualityModel

DEFAULT_CARD = "solvent.json"
KINDS = ("solvent", "flat")  # of the logits, in their order
_LARGEST_CARD, _LARGEST_WEIGHTS = 1 << 24, 1 << 31  # bytes
# begins the entry of a tensor in another file (onnx.proto, TensorProto.external_data); ONNX Runtime
# would open whatever it names
_EXTERNAL = b"location"


@dataclass(frozen=True)
class ModelCard:
    """Everything that must travel with the weights; the JSON file beside the ONNX file.

    Parameters
    ----------
    path : the JSON file.
    name, version, sha256 : of the model; ``sha256`` is that of the ONNX file ``onnx``, by which card
        and weights are known to be one.  It is no protection: who changes one can change both.
    weights : content of the ONNX file, so that what runs is what was hashed.
    input : how maps are presented.
    window, margin : largest window and points of context at each side, in window points.
    scale, offset : (2,) calibration of P(solvent) and P(flat density),
        1 / (1 + exp(-(scale * logit + offset))).
    cutoffs : distribution of the logit cutoff that reproduces the true solvent content.
    d_min_range : resolution limits, Angstrom, of the training maps.
    point_groups : of the training crystals; empty if the card does not say.
    quality : judges maps and hands; None if that has not been calibrated.
    self_test : seed, shape, expected logits and tolerance of one prediction.
    """

    path: Path
    name: str
    version: str
    onnx: Path
    sha256: str
    input: InputSpec
    window: int
    margin: int
    scale: np.ndarray
    offset: np.ndarray
    cutoffs: CutoffDistribution
    d_min_range: tuple
    point_groups: tuple
    quality: QualityModel | None
    self_test: dict
    weights: bytes = field(repr=False)

    @classmethod
    def read(cls, path: str | Path | None = None) -> ModelCard:
        """Read a card; by default that of the packaged model.

        Raises
        ------
        ModelError : no such card, a damaged one, or weights with another sha256.
        """
        path = Path(path) if path else _packaged_models() / DEFAULT_CARD
        try:
            card = json.loads(_content(path, _LARGEST_CARD))
            onnx = _beside(path, card["file"])
            weights = _content(onnx, _LARGEST_WEIGHTS)
            digest = hashlib.sha256(weights).hexdigest()
            if digest != card["sha256"]:
                raise ModelError(f"{onnx} has sha256 {digest[:12]}..., its card {path.name} says "
                                 f"{card['sha256'][:12]}...: the file is damaged or does not "
                                 "belong to the card. Install the package again.")
            if _EXTERNAL in weights:
                raise ModelError(f"{onnx} keeps weights in other files, which are not covered by its "
                                 "card. Save the network as one file.")
            _check_values(card)
            spec = InputSpec(**card["input"])
            if spec.revision != REVISION:
                raise ModelError(f"{path.name} needs input of revision {spec.revision}, this program "
                                 f"makes revision {REVISION}. Use the model that came with it.")
            if not set(KINDS) <= set(card["calibration"]):
                raise ModelError(f"{path.name} is of a network that does not tell flat density: it "
                                 "is of version 0.2.0 or earlier. Use the packaged model.")
            return cls(path, card["name"], card["version"], onnx, digest,
                       spec, card["window"]["size"], card["window"]["margin"],
                       _calibration(card, "scale"), _calibration(card, "offset"),
                       CutoffDistribution.from_json(card["cutoff_distribution"]),
                       tuple(card["training"]["d_min_range"]),
                       tuple(card["training"].get("point_groups", ())),
                       QualityModel.from_json(card["quality"]) if "quality" in card else None,
                       card["self_test"], weights)
        except FileNotFoundError as error:
            raise ModelError(f"Model file {error.filename} is missing. Install the package again, "
                             "or name a model card with --model.") from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
                RecursionError) as error:
            raise ModelError(f"Model card {path} cannot be used ({type(error).__name__}: {error}). "
                             "Install the package again.") from error


def _calibration(card: dict, name: str) -> np.ndarray:
    return np.array([card["calibration"][kind][name] for kind in KINDS], np.float32)


def _content(path: Path, most: int) -> bytes:
    """Content of a regular file of a size that can be right."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > most:
        raise ValueError(f"{path.name} is no file, or one of more than {most} bytes")
    return path.read_bytes()


def _beside(card: Path, name: str) -> Path:
    """A file of a card, which must be in its folder."""
    file = card.parent / name
    if file.name != name or file.resolve().parent not in (card.resolve().parent, card.parent.resolve()):
        raise ValueError(f"the file {name!r} is not in the folder of the card")
    return file


def _check_values(card: dict) -> None:
    """Make sure that numbers are numbers, of sizes with which the network can be run."""
    size, margin = card["window"]["size"], card["window"]["margin"]
    if not (_whole(size, 16, 512) and size % 8 == 0 and _whole(margin, 0, size // 2 - 1)):
        raise ValueError(f"window {size!r}, {margin!r}")
    for name, low, high in (("spacing", 0.1, 10), ("clip", 0.1, 1e6), ("deviation_radius", 0, 100)):
        if not _number(card["input"][name], low, high):
            raise ValueError(f"input {name} {card['input'][name]!r}")
    for kind in set(KINDS) & set(card["calibration"]):
        for name in ("scale", "offset"):
            if not _number(card["calibration"][kind][name], -1e6, 1e6):
                raise ValueError(f"calibration {kind} {name} {card['calibration'][kind][name]!r}")
    d_min = card["training"]["d_min_range"]
    if len(d_min) != 2 or not all(_number(value, 0, 100) for value in d_min):
        raise ValueError(f"d_min_range {d_min!r}")
    test = card["self_test"]
    if not (_whole(test["seed"], 0, 1 << 63) and _number(test["tolerance"], 0, 1e9)
            and len(test["shape"]) == 4 and all(_whole(n, 1, 128) for n in test["shape"])
            and all(_number(value, -1e9, 1e9) for value in test["values"])):
        raise ValueError("self_test")
    for name in ("name", "version"):
        if not isinstance(card[name], str) or not re.fullmatch(r"[\w.+ -]{1,100}", card[name]):
            raise ValueError(f"{name} {card[name]!r}")


def _number(value, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _whole(value, low: int, high: int) -> bool:
    return isinstance(value, int) and _number(value, low, high)


def _packaged_models() -> Path:
    """Folder of the packaged model; a source tree that is not installed has it beside the package."""
    package = Path(__file__).parents[1]
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"
