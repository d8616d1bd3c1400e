"""Thresholds from anomaly-free images alone, by split-conformal quantiles.

Of n held-out good images, exchangeable with the good images to come, the k-th smallest score with
k = ceil((n + 1) (1 - rate)) is exceeded by the next good image with a probability of at most
``rate`` (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; Angelopoulos
and Bates, "A Gentle Introduction to Conformal Prediction", 2021, appendix D). The probability is
over the held-out images and the next one; what good images of one fixed calibration give varies
around it by about sqrt(rate (1 - rate) / n). Nothing here has seen a defect.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from vqad.errors import VqadError
from vqad.paths import is_remote, write_whole

FILE = "thresholds.json"


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """When an image is called defective, and which of its pixels.

    Attributes:
      score: images with a higher score are defective.
      pixel: pixels with a higher value in the map are defective.
      rate: the wanted share of good images that are called defective; and, with the pixels' own
        threshold, of good images in which any pixel is.
      images: how many good images they were taken from.
      step: step of the checkpoint whose scores these were.
      image_size: height and width that images were resized to or cut into.
      tiled: whether images were cut into tiles.
      overlap: pixels that neighbouring tiles share; None where there are none.
      held_out: whether the images were those that training holds out.
      weights: digest of the weights whose scores these were; None where it was not kept.
    """

    score: float
    pixel: float
    rate: float
    images: int
    step: int
    image_size: tuple[int, int]
    tiled: bool
    overlap: int | None = None
    held_out: bool = False
    weights: int | None = None


def conformal_rank(count: int, rate: float) -> int:
    """The rank, from 1 for the smallest, of the value that ``conformal_quantile`` takes.

    Raises:
      VqadError: ``count`` is below 1 / rate - 1, too few for any value to promise the rate.

    Example:
      >>> conformal_rank(99, 0.01), conformal_rank(500, 0.01)
      (99, 496)
    """
    # Without the margin, rounding would ask for one image more where (n + 1) rate is whole.
    rank = math.ceil((count + 1) * (1 - rate) - 1e-9)
    if rank > count:
        needed = math.ceil(1 / rate - 1 - 1e-9)
        raise VqadError(
            f"{count} good images are too few for a false-alarm rate of {rate:g}; give at least "
            f"{needed}, or a rate of at least {1 / (count + 1):.3g}"
        )
    return rank


def conformal_quantile(values: np.ndarray, rate: float) -> float:
    """The value that the next one exceeds with a probability of at most ``rate``.

    Args:
      values: float [n], of held-out good images.
      rate: in (0, 1).

    Returns:
      The ceil((n + 1) (1 - rate))-th smallest value.

    Raises:
      VqadError: too few values.

    Example:
      >>> conformal_quantile(np.array([0.3, 0.1, 0.4, 0.2]), 0.4)
      0.3
    """
    return float(np.sort(values)[conformal_rank(len(values), rate) - 1])


def check_rate(name: str, rate: float) -> None:
    """Refuses false-alarm rates outside (0, 1).

    Raises:
      VqadError: it is.
    """
    if not 0 < rate < 1:
        raise VqadError(f"{name}: {rate:g}; give a share between 0 and 1, as 0.01")


def write(folder: str, thresholds: Thresholds) -> epath.Path:
    """Writes thresholds beside the checkpoints that they belong to; returns the file.

    Raises:
      VqadError: it cannot be written; older thresholds are kept.
    """
    path = epath.Path(folder) / FILE
    content = json.dumps(dataclasses.asdict(thresholds), indent=2) + "\n"
    try:
        write_whole(path, content.encode())
    except OSError as error:
        raise VqadError(
            f"{path}: cannot be written ({error.strerror or error}); free disk space or permissions"
        ) from error
    return path


def read(folder: str) -> Thresholds | None:
    """Reads the thresholds of a checkpoint folder; None if it has none.

    Raises:
      VqadError: the file is damaged.
    """
    path = epath.Path(folder) / FILE
    if not path.exists():
        return None
    try:
        if not is_remote(path) and not Path(path).is_file():
            raise ValueError("not a file")
        return from_json(json.loads(path.read_text()))
    except (ArithmeticError, RecursionError, TypeError, ValueError, OSError) as error:
        raise VqadError(
            f"{path}: cannot be read ({error}); remove it, and run vqad calibrate again"
        ) from error


def from_json(entries: Any) -> Thresholds:
    """Thresholds from what ``dataclasses.asdict`` made of them.

    Raises:
      ValueError: a field is missing, left over or of another type.
      OverflowError: a whole number is too large.
    """
    kinds = {field.name: field.type for field in dataclasses.fields(Thresholds)}
    if not isinstance(entries, dict) or {"weights": None, **entries}.keys() != kinds.keys():
        raise ValueError(f"does not hold {', '.join(kinds)}")
    size = entries["image_size"]
    whole = [entries["images"], entries["step"], *(size if isinstance(size, list | tuple) else "?")]
    if any(type(value) is not int for value in whole) or len(whole) != 4:
        raise ValueError("images, step and image_size must be whole numbers")
    numbers = [entries[name] for name in ("score", "pixel", "rate")]
    if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
        raise ValueError("score, pixel and rate must be numbers")
    if not all(type(entries[name]) is bool for name in ("tiled", "held_out")):
        raise ValueError("tiled and held_out must be true or false")
    if type(entries.get("weights")) not in (int, type(None)):
        raise ValueError("weights must be a whole number or null")
    if (type(entries["overlap"]) is int) != entries["tiled"]:
        raise ValueError("overlap must be a whole number for tiles, else null")
    return Thresholds(**{**entries, "image_size": tuple(size)})
