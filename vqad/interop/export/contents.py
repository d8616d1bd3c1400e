"""What every export holds: one function from bytes of pixels to verdicts, and its description."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax

from vqad import __version__
from vqad.config.base import fields
from vqad.data.numbers import ValueRange
from vqad.errors import explained
from vqad.models.dsr import Dsr
from vqad.models.image_shape import check_image_size
from vqad.prediction import thresholds
from vqad.prediction.detector import Detector
from vqad.prediction.jitted import CODES, prediction
from vqad.prediction.thresholds import Thresholds

FORMAT = "vqad-export-1"
KEY = "vqad"
"""Entry of a file's own metadata that holds the description, where the format has metadata."""


@dataclasses.dataclass(frozen=True)
class Description:
    """What an export says of itself, as far as a program needs it."""

    image_size: tuple[int, int]  # height and width of the images that it takes
    limits: Thresholds | None  # its thresholds, or None
    metadata: Mapping[str, Any]  # all of it, as of a checkpoint, with ``file``, its path
    value_range: ValueRange | None = None  # as of a ``Detector``


def usable_limits(trained: Detector) -> Thresholds | None:
    """The thresholds, where they belong to whole images at the model's size, as exports take."""
    limits = trained.thresholds
    fit = limits is not None and (limits.image_size, limits.tiled) == (trained.image_size, False)
    return limits if fit else None


def describe(trained: Detector) -> dict[str, Any]:
    """The description of an export, JSON-able, before it was checked."""
    limits = usable_limits(trained)
    return {
        "format": FORMAT,
        "vqad": __version__,
        "step": int(trained.metadata["step"]),
        "image_size": list(trained.image_size),
        "channel_order": "RGB",
        "input": "uint8 [n, height, width, 3]; division by 255 is inside",
        "value_range": None if trained.value_range is None else list(trained.value_range),
        "resize": "bilinear with antialiasing: Pillow's Image.resize(..., BILINEAR)",
        "thresholds": None if limits is None else dataclasses.asdict(limits),
        "model": dict(trained.metadata["model"]),
    }


def parse(text: str | bytes, path: str) -> Description:
    """Reads the description of an export from JSON; a VqadError if it is none."""
    with explained(path, "not an export of vqad", "write it again with vqad export"):
        whole = json.loads(text)
        if not isinstance(whole, dict) or whole.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        needed = ("image_size", "thresholds", "step", "model")
        if absent := [name for name in needed if name not in whole]:
            raise ValueError(f"{', '.join(absent)} is missing")
        size, limits, step, model = (whole[name] for name in needed)
        if not isinstance(size, list) or [type(side) for side in size] != [int, int]:
            raise ValueError("image_size must be two whole numbers")
        check_image_size(tuple(size), "image_size")
        if type(step) is not int or not isinstance(model, dict):
            raise ValueError("step must be a whole number and model hold fields")
        limits = None if limits is None else thresholds.from_json(limits)
        scaled = tuple(whole.get("value_range") or ())
        fields()["value_range"]("value_range", scaled)
        config = {"image_size": size, "value_range": scaled}
        metadata = {**whole, "config": config, "file": path}
        return Description(tuple(size), limits, metadata, scaled or None)


def make_detect(
    model: Dsr, limits: Thresholds | None
) -> Callable[[Mapping, jax.Array], dict[str, jax.Array]]:
    """The function that is exported, with verdicts if there are thresholds.

    It maps all variables and images uint8 [n, h, w, 3] to ``score`` float32 [n], ``mask`` float32
    [n, h, w], perhaps ``verdict`` bool [n] and ``marks`` bool [n, h, w], and the codes int32
    [n, h/8, w/8] and [n, h/4, w/4] under the names in ``CODES``.
    """
    predict = prediction(model, ("score", "mask", *CODES))

    def detect(variables: Mapping, image: jax.Array) -> dict[str, jax.Array]:
        found = predict(variables, image)
        outputs = {name: found.pop(name) for name in ("score", "mask")}
        if limits is not None:
            outputs["verdict"] = outputs["score"] > limits.score
            outputs["marks"] = outputs["mask"] > limits.pixel
        return outputs | found

    return detect
