"""From a checkpoint to a trained model in use."""

import logging
from collections.abc import Mapping
from typing import Any

from vqad import checkpoints
from vqad.checkpoints.digest import digest
from vqad.config import build_model
from vqad.config.base import fields
from vqad.errors import explained
from vqad.models.image_shape import check_image_size
from vqad.prediction import thresholds
from vqad.prediction.detector import Detector
from vqad.prediction.thresholds import Thresholds
from vqad.stages.stage3 import STAGE3
from vqad.training.initialization import variable_shapes

logger = logging.getLogger(__name__)


def load_folder(path: str) -> Detector:
    """A trained model from a workdir, a checkpoint folder or imported weights of all parts."""
    folder = checkpoints.find_folder(path)
    variables, metadata = checkpoints.load_weights(folder)
    metadata = {**metadata, "folder": folder, "weights": digest(variables)}
    detector = detector_of(variables, metadata, folder)
    detector.thresholds = _usable_thresholds(folder, metadata)
    if detector.thresholds is not None:
        detector.value_range = detector.thresholds.value_range
    return detector


def detector_of(
    variables: Mapping, metadata: Mapping[str, Any], name: str, limits: Thresholds | None = None
) -> Detector:
    """The model that metadata describe, at the size of the images trained on, else 256 x 256.

    Raises a VqadError if they describe none, or a part of ``name`` is missing or has other sizes.
    """
    fault, kinds = "its metadata do not describe a model", (KeyError, TypeError, ValueError)
    with explained(name, fault, "give another checkpoint", kinds):
        model = build_model(metadata["model"])
        size = metadata["config"]["image_size"] if "config" in metadata else (256, 256)
        height, width = size
        check_image_size((height, width), "image_size")
        scaled = tuple(metadata.get("config", {}).get("value_range") or ())
        fields()["value_range"]("value_range", scaled)
    variables = checkpoints.merge(variable_shapes(model, STAGE3), variables, name)
    how = {"value_range": scaled or None}
    return Detector(model, variables, (height, width), limits, metadata, **how)


def _usable_thresholds(folder: str, metadata: Mapping[str, Any]) -> Thresholds | None:
    """A folder's thresholds; None, with a warning, where they are of other weights."""
    limits, step = thresholds.read(folder), metadata["step"]
    if limits is None:
        return None
    if limits.step == step and limits.weights in (None, metadata["weights"]):
        return limits
    logger.warning(
        "warning: %s: thresholds of %s are not used, the model is of step %d; run vqad calibrate "
        "again",
        folder,
        "other weights" if limits.step == step else f"step {limits.step}",
        step,
    )
    return None
