"""The images that a model is measured on: a test part, and good training images held aside."""

import dataclasses

import numpy as np

from vqad.data.sources import Source, open_source
from vqad.errors import VqadError
from vqad.prediction.detector import Detector


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Test images of a surface.

    Attributes:
      images: uint8 [n, h, w, 3].
      masks: uint8 [n, h, w] of 0 and 1, 1 on a defect.
      class_ids: int32 [n] into ``classes``.
      classes: names, the good one first.
    """

    images: np.ndarray
    masks: np.ndarray
    class_ids: np.ndarray
    classes: tuple[str, ...]

    @property
    def defective(self) -> np.ndarray:
        """Bool [n]."""
        return self.class_ids > 0


def subsample(class_ids: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most so many images, the same ones each time, a like share of each class.

    Args:
      class_ids: int [n].
      most: how many; 0 for all.

    Returns:
      int [m], rising.
    """
    n = len(class_ids)
    if not most or most >= n:
        return np.arange(n)
    # Each image's place within its shuffled class, as a share of the class.
    order = np.random.default_rng(0).permutation(n)
    place = np.empty(n)
    for class_id in np.unique(class_ids):
        members = order[class_ids[order] == class_id]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.argsort(place, kind="stable")[:most])


def read_test(surface: str, size: tuple[int, int], most: int = 0) -> LabelledImages:
    """Reads test images.

    Args:
      surface: folder, or ``tfds:<name>``.
      size: height and width to resize to.
      most: how many at most; 0 for all.

    Raises:
      VqadError: there is no test part, or it has fewer than two good or two defective images.
    """
    source = open_source(surface, "test", size)
    class_ids = np.array([source[i]["class_id"] for i in range(len(source))])
    chosen = subsample(class_ids, most)
    examples = [source[int(i)] for i in chosen]
    images, masks = (np.stack([example[key] for example in examples]) for key in ("image", "mask"))
    part = LabelledImages(images, masks, class_ids[chosen], tuple(source.classes))
    counts = np.bincount(part.defective, minlength=2)
    if counts.min() < 2:
        raise VqadError(
            f"{surface}: {counts[0]} good and {counts[1]} defective test images are measured, too "
            "few to cut in halves; give a surface, or --images, with two of each"
        )
    return part


def read_held_aside(
    surface: str, size: tuple[int, int], trained: Detector, most: int
) -> tuple[np.ndarray, bool]:
    """Reads good training images that set the standard for maps of good images.

    Args:
      surface: folder, or ``tfds:<name>``.
      size: height and width to resize to.
      trained: the model, whose run may have held some out (``config.calibration.held_out``).
      most: how many at most.

    Returns:
      Images uint8 [n, h, w, 3], and whether the model was trained without them.

    Raises:
      VqadError: there are fewer than two.
    """
    source = open_source(surface, "train", size)
    share = trained.metadata.get("config", {}).get("calibration", {}).get("held_out", 0)
    held = source.hold_out(share)[1] if share else None
    aside = held is not None and len(held) > 1
    images = _some(held if aside else source, most)
    if len(images) < 2:
        raise VqadError(
            f"{surface}: {len(images)} good training image, too few to tell what maps of good "
            "images look like; give a surface with more"
        )
    return images, aside


def _some(source: Source, most: int) -> np.ndarray:
    order = np.random.default_rng(0).permutation(len(source) - source.num_labelled)
    return np.stack([source[int(i)]["image"] for i in np.sort(order[:most])])
