"""The model card: what belongs to a network beside its weights, and the hash by which they are one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ModelError
from ..solvent.content import CutoffDistribution
from .inputs import REVISION, InputSpec
from .map_quality import QualityModel

DEFAULT_CARD = "solvent.json"
KINDS = ("solvent", "flat")  # of the logits, in their order


@dataclass(frozen=True)
class ModelCard:
    """Everything that must travel with the weights; the JSON file beside the ONNX file.

    Parameters
    ----------
    path : the JSON file.
    name, version, sha256 : of the model; ``sha256`` is that of the ONNX file ``onnx``.
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

    @classmethod
    def read(cls, path: str | Path | None = None) -> ModelCard:
        """Read a card; by default that of the packaged model.

        Raises
        ------
        ModelError : no such card, a damaged one, or weights with another sha256.
        """
        path = Path(path) if path else _packaged_models() / DEFAULT_CARD
        try:
            card = json.loads(path.read_text())
            onnx = path.parent / card["file"]
            digest = hashlib.sha256(onnx.read_bytes()).hexdigest()
            if digest != card["sha256"]:
                raise ModelError(f"{onnx} has sha256 {digest[:12]}..., its card {path.name} says "
                                 f"{card['sha256'][:12]}...: the file is damaged or does not "
                                 "belong to the card. Install the package again.")
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
                       card["self_test"])
        except FileNotFoundError as error:
            raise ModelError(f"Model file {error.filename} is missing. Install the package again, "
                             "or name a model card with --model.") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"Model card {path} cannot be used ({type(error).__name__}: {error}). "
                             "Install the package again.") from error


def _calibration(card: dict, name: str) -> np.ndarray:
    return np.array([card["calibration"][kind][name] for kind in KINDS], np.float32)


def _packaged_models() -> Path:
    """Folder of the packaged model; a source tree that is not installed has it beside the package."""
    package = Path(__file__).parents[1]
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"
