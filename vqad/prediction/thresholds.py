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
from typing import Any

import numpy as np
from etils import epath

from vqad.config.fields import is_value_range
from vqad.errors import VqadError, explained
from vqad.prediction.results import is_number, read_json, write_result

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
      value_range: the numbers of black and white that images were read by; None for their own.
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
    value_range: tuple[float, float] | None = None


def conformal_rank(count: int, rate: float) -> int:
    """The rank, from 1 for the smallest, of the value that ``conformal_quantile`` takes.

    A ``count`` below 1 / rate - 1, too few to promise the rate, is refused with a VqadError.
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
    """The ceil((n + 1) (1 - rate))-th smallest of n values; a VqadError if they are too few.

    Examples:
      >>> conformal_quantile(np.array([0.3, 0.1, 0.4, 0.2]), 0.4)
      0.3
    """
    return float(np.sort(values)[conformal_rank(len(values), rate) - 1])


def check_rate(name: str, rate: float) -> None:
    """Raises a VqadError for false-alarm rates outside (0, 1)."""
    if not 0 < rate < 1:
        raise VqadError(f"{name}: {rate:g}; give a share between 0 and 1, as 0.01")


def write(folder: str, thresholds: Thresholds) -> epath.Path:
    """Writes thresholds beside their checkpoints; a VqadError, and older ones kept, if not."""
    path = epath.Path(folder) / FILE
    content = json.dumps(dataclasses.asdict(thresholds), indent=2) + "\n"
    write_result(path, content.encode())
    return path


def read(folder: str) -> Thresholds | None:
    """The thresholds of a checkpoint folder, None if it has none; a VqadError if damaged."""
    path = epath.Path(folder) / FILE
    remedy = "remove it, and run vqad calibrate again"
    with explained(path, "cannot be read", remedy, (KeyError, TypeError, ValueError)):
        return from_json(read_json(path)) if path.exists() else None


def from_json(entries: Any) -> Thresholds:
    """What ``dataclasses.asdict`` made JSON of; else KeyError, TypeError or ValueError."""
    found = Thresholds(**{**entries, "image_size": tuple(entries["image_size"])})
    if found.value_range is not None:
        found = dataclasses.replace(found, value_range=tuple(found.value_range))
    height, width = found.image_size
    optional = [value for value in (found.overlap, found.weights) if value is not None]
    fits = all(map(is_number, (found.score, found.pixel, found.rate)))
    fits &= {type(each) for each in (found.images, found.step, height, width, *optional)} == {int}
    fits &= found.value_range is None or is_value_range(found.value_range)
    fits &= type(found.tiled) is type(found.held_out) is bool
    if not fits or (found.overlap is not None) != found.tiled:
        raise ValueError(f"no thresholds are {entries!r:.200}")
    return found
