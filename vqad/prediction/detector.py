"""A trained detector in Python: images in; scores, masks and verdicts out."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vqad.data.decode import decode_image, resize_image
from vqad.errors import VqadError
from vqad.prediction import thresholds, tiles
from vqad.prediction.thresholds import Thresholds

Picture = np.ndarray | str | os.PathLike
OVERLAP = 1 / 4
"""Share of a tile's shorter side that neighbours have in common."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a detector says of one image, or of each image of a batch.

    Of one image ``scores`` and ``verdicts`` have no axis and ``masks`` and ``marks`` are [h, w]; of
    images of one size they are [n] and [n, h, w]; of images of several sizes ``masks`` and
    ``marks`` are lists.

    Attributes:
      scores: float32 in [0, 1], higher where a defect is likelier.
      masks: float32 in [0, 1], for each pixel of the image as it was given.
      verdicts: bool, defective or not; None without thresholds of predictions of this kind.
      marks: bool, the pixels that are called defective; None where there are no verdicts.
    """

    scores: np.ndarray
    masks: np.ndarray | list[np.ndarray]
    verdicts: np.ndarray | None
    marks: np.ndarray | list[np.ndarray] | None


class Detector:
    """A trained detector. ``vqad.load`` makes one of a folder or an export.

    Attributes:
      image_size: height and width at which the networks see an image.
      thresholds: where verdicts come from, or None.
      metadata: what the checkpoint says of its training.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], Mapping[str, np.ndarray]],
        image_size: tuple[int, int],
        metadata: Mapping[str, Any],
        limits: Thresholds | None = None,
    ) -> None:
        """Keeps a function of uint8 [n, h, w, 3] to ``score`` [n] and ``mask`` [n, h, w]."""
        self._predict = predict
        self.image_size = image_size
        self.metadata = metadata
        self.thresholds = limits

    def predict(
        self,
        images: Picture | Sequence[Picture],
        *,
        tile: bool = False,
        overlap: int | None = None,
        batch_size: int = 8,
    ) -> Prediction:
        """Looks for defects in one image or in several.

        An image is resized to ``image_size``, or cut into tiles of that size, and what is found is
        brought back to the image's own size. Of one image one is computed, of several always
        ``batch_size`` at a time (padded), so that there are two programs to compile at most.

        Args:
          images: one picture, or a sequence of them, or an array of several. A picture is a path or
            an RGB array [h, w, 3] (grey: [h, w]), uint8 or float in [0, 1]; several of one size may
            come as [n, h, w, 3].
          tile: cut images into tiles, in place of resizing them, unless a side is shorter than
            that of ``image_size``. The instance norms see a tile alone then.
          overlap: pixels that neighbouring tiles share at least; a quarter of the shorter side if
            None.
          batch_size: images or tiles computed at a time.

        Returns:
          The prediction.

        Raises:
          VqadError: a picture that cannot be read, an array of another kind, a bad ``overlap`` or
            ``batch_size``.

        Example:
          >>> import numpy as np
          >>> import vqad
          >>> model = vqad.load("runs/demo")
          >>> one = model.predict("pictures/1.png")  # a picture of 96 x 80
          >>> one.scores.shape, one.masks.shape
          ((), (96, 80))
          >>> batch = model.predict(np.zeros((3, 64, 64, 3), np.uint8))
          >>> batch.scores.shape, batch.masks.shape, batch.masks.dtype
          ((3,), (3, 64, 64), dtype('float32'))
          >>> mixed = model.predict(["pictures/1.png", np.zeros((64, 64), np.float32)])
          >>> [mask.shape for mask in mixed.masks]
          [(96, 80), (64, 64)]
          >>> batch.verdicts is None  # until it is calibrated
          True
        """
        if batch_size < 1:
            raise VqadError(f"batch_size: {batch_size}; must be at least 1")
        one = isinstance(images, str | os.PathLike) or (
            isinstance(images, np.ndarray) and images.ndim < 4
        )
        pictures = [as_picture(image) for image in ([images] if one else images)]
        if not pictures:
            raise VqadError("images: none given; give at least one")
        scores, maps = self._scored(pictures, tile, overlap, batch_size)
        verdicts = marks = None
        if self.judges(tile):
            verdicts = scores > self.thresholds.score
            marks = [found > self.thresholds.pixel for found in maps]
        if one:
            return Prediction(
                scores[0],
                maps[0],
                None if verdicts is None else verdicts[0],
                None if marks is None else marks[0],
            )
        if len({found.shape for found in maps}) == 1:
            maps = np.stack(maps)
            marks = None if marks is None else np.stack(marks)
        return Prediction(scores, maps, verdicts, marks)

    def calibrate(
        self, pictures: Iterable[Picture], rate: float = 0.01, *, tile: bool = False
    ) -> Thresholds:
        """Sets thresholds by good images that were not trained on.

        Args:
          pictures: good images, as for ``predict``.
          rate: wanted share of good images that are called defective.
          tile: as for ``predict``; the thresholds hold for predictions of the same kind.

        Returns:
          The thresholds, which ``predict`` uses from now on.

        Raises:
          VqadError: too few images for this rate.

        Example:
          >>> import numpy as np
          >>> import vqad
          >>> model = vqad.load("runs/demo")
          >>> good = np.random.default_rng(0).random((9, 64, 64, 3))
          >>> limits = model.calibrate(good, rate=0.1)
          >>> bool(model.predict(good).verdicts.sum() <= 1)
          True
        """
        thresholds.check_rate("rate", rate)
        scores, highest = [], []
        for picture in pictures:
            found = self._scored([as_picture(picture)], tile, None, 1)
            scores.append(float(found[0][0]))
            highest.append(float(found[1][0].max()))
        self.thresholds = Thresholds(
            score=thresholds.conformal_quantile(np.array(scores), rate),
            pixel=thresholds.conformal_quantile(np.array(highest), rate),
            rate=rate,
            images=len(scores),
            step=int(self.metadata["step"]),
            image_size=self.image_size,
            tiled=tile,
        )
        return self.thresholds

    def judges(self, tile: bool) -> bool:
        """Whether there are thresholds, of predictions of this kind, and so verdicts."""
        limits = self.thresholds
        return limits is not None and (limits.tiled, limits.image_size) == (tile, self.image_size)

    def _scored(
        self, pictures: list[np.ndarray], tile: bool, overlap: int | None, batch_size: int
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Scores float32 [n] and maps float32, each of its picture's size."""
        places = [self._tiles(picture.shape[:2], tile, overlap) for picture in pictures]
        parts = []
        for picture, of_picture in zip(pictures, places, strict=True):
            if of_picture:
                parts.extend(tiles.cut(picture, of_picture, self.image_size))
            else:
                parts.append(resize_image(picture, self.image_size))
        scores, maps = self._in_batches(parts, batch_size)
        found_scores, found_maps, at = [], [], 0
        for picture, of_picture in zip(pictures, places, strict=True):
            count, shape = max(len(of_picture), 1), picture.shape[:2]
            own = maps[at : at + count]
            found_scores.append(scores[at : at + count].max())
            found_maps.append(
                tiles.blend(own, of_picture, shape) if of_picture else resize_map(own[0], shape)
            )
            at += count
        return np.array(found_scores, np.float32), found_maps

    def _tiles(
        self, shape: tuple[int, int], tile: bool, overlap: int | None
    ) -> list[tuple[int, int]]:
        """Corners of an image's tiles; none where it is resized."""
        if not tile or shape == self.image_size:
            return []
        if any(side < wanted for side, wanted in zip(shape, self.image_size, strict=True)):
            return []
        if overlap is None:
            overlap = round(min(self.image_size) * OVERLAP)
        return tiles.corners(shape, self.image_size, overlap)

    def _in_batches(
        self, parts: Sequence[np.ndarray], batch_size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        size = 1 if len(parts) == 1 else batch_size
        scores, maps = [], []
        for start in range(0, len(parts), size):
            here = parts[start : start + size]
            batch = np.stack([*here, *[here[-1]] * (size - len(here))])
            found = self._predict(batch)
            scores.append(np.asarray(found["score"])[: len(here)])
            maps.append(np.asarray(found["mask"])[: len(here)])
        return np.concatenate(scores), np.concatenate(maps)


def as_picture(image: Picture) -> np.ndarray:
    """One picture as uint8 RGB [h, w, 3].

    Args:
      image: a path, or an array [h, w, 3] or [h, w], uint8 or float in [0, 1].

    Raises:
      VqadError: it cannot be read, or is an array of another kind.
    """
    if isinstance(image, str | os.PathLike):
        return decode_image(image)
    image = np.asarray(image)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise VqadError(f"image: an array of shape {image.shape}; give [height, width, 3] (RGB)")
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f" or not (image.min() >= 0 and image.max() <= 1):
        raise VqadError(f"image: {image.dtype} outside [0, 1]; give uint8, or floats in [0, 1]")
    return np.round(image * 255).astype(np.uint8)


def resize_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a map float32 [h, w] bilinearly."""
    if values.shape == tuple(size):
        return values
    resized = Image.fromarray(values.astype(np.float32)).resize(
        (size[1], size[0]), Image.Resampling.BILINEAR
    )
    return np.asarray(resized)
