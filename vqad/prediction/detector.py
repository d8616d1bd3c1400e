"""A trained detector in Python: images in; scores, masks and verdicts out."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vqad.data.decode import resize_image
from vqad.errors import VqadError
from vqad.prediction import thresholds, tiles
from vqad.prediction.inputs import groups
from vqad.prediction.pictures import Picture, as_picture, resize_map
from vqad.prediction.thresholds import Thresholds

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
        brought back to the image's own size. Of one image that is resized one is computed, of tiles
        and of several images always ``batch_size`` at a time (padded), so that there are two
        programs to compile at most. They differ by rounding, which a verdict at the threshold, or a
        feature between two codes, may show.

        Args:
          images: one picture, or a sequence of them, or an array of several. A picture is a path,
            Pillow's image (RGB or grey), or an RGB array [h, w, 3] (grey: [h, w]), uint8 or float
            in [0, 1], of NumPy or what becomes one; several of one size may come as [n, h, w, 3].
          tile: cut images of which a side is longer than that of ``image_size`` into tiles, in
            place of resizing them; a shorter side is continued by its mirror image. The instance
            norms see a tile alone then.
          overlap: pixels that neighbouring tiles share at least; a quarter of the shorter side if
            None.
          batch_size: images or tiles computed at a time.

        Returns:
          The prediction.

        Raises:
          VqadError: a picture that cannot be read, an array of another kind, a bad ``overlap`` or
            ``batch_size``, or predictions that are not finite.

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
        overlap = self._overlap(tile, overlap)
        if hasattr(images, "__array__") and not isinstance(images, np.ndarray | Image.Image):
            images = np.asarray(images)
        one = isinstance(images, str | os.PathLike | Image.Image) or (
            isinstance(images, np.ndarray) and images.ndim < 4
        )
        pictures = [as_picture(image) for image in ([images] if one else images)]
        if not pictures:
            raise VqadError("images: none given; give at least one")
        scores, maps, _ = self._scored(pictures, overlap, 1 if one and not tile else batch_size)
        verdicts = marks = None
        if self.judges(tile, overlap):
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
        self,
        pictures: Iterable[Picture],
        rate: float = 0.01,
        *,
        tile: bool = False,
        overlap: int | None = None,
        batch_size: int = 8,
    ) -> Thresholds:
        """Sets thresholds by good images that were not trained on.

        The pixels' threshold is taken from maps of ``image_size`` (or of tiles, joined): resized to
        an image's own size, their highest values are lower, so that the promise holds there too.

        Args:
          pictures: good images, as for ``predict``.
          rate: wanted share of good images that are called defective.
          tile: as for ``predict``; the thresholds hold for predictions of the same kind.
          overlap: as for ``predict``, likewise.
          batch_size: images or tiles computed at a time.

        Returns:
          The thresholds, which ``predict`` uses from now on.

        Raises:
          VqadError: too few images for this rate, and what ``predict`` raises.

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
        overlap = self._overlap(tile, overlap)
        scores, highest = [], []
        for group in groups(map(as_picture, pictures), 1 if tile else batch_size):
            found, _, largest = self._scored(group, overlap, batch_size)
            scores.extend(found.tolist())
            highest.extend(largest)
        self.thresholds = Thresholds(
            score=thresholds.conformal_quantile(np.array(scores), rate),
            pixel=thresholds.conformal_quantile(np.array(highest), rate),
            rate=rate,
            images=len(scores),
            step=int(self.metadata["step"]),
            image_size=self.image_size,
            tiled=tile,
            overlap=overlap,
            weights=self.metadata.get("weights"),
        )
        return self.thresholds

    def judges(self, tile: bool, overlap: int | None = None) -> bool:
        """Whether there are thresholds, of predictions of this kind, and so verdicts."""
        limits = self.thresholds
        kind = (tile, self.image_size, self._overlap(tile, overlap))
        return limits is not None and (limits.tiled, limits.image_size, limits.overlap) == kind

    def _overlap(self, tile: bool, overlap: int | None) -> int | None:
        """The overlap that is meant; None without tiles.

        Raises:
          VqadError: there can be none such.
        """
        if not tile:
            return None
        if overlap is None:
            return round(min(self.image_size) * OVERLAP)
        tiles.check_overlap(overlap, self.image_size)
        return overlap

    def _scored(
        self, pictures: Sequence[np.ndarray], overlap: int | None, size: int
    ) -> tuple[np.ndarray, list[np.ndarray], list[float]]:
        """Scores float32 [n], maps float32, each of its picture's size, and their largest values.

        The largest value is that before a map is resized, which can only lower it.

        Args:
          pictures: uint8 [h, w, 3].
          overlap: of tiles; None resizes all of them.
          size: images or tiles at a time.
        """
        found: dict[int, tuple[float, np.ndarray, float]] = {}
        whole = [i for i, picture in enumerate(pictures) if not self._is_cut(picture, overlap)]
        resized = (resize_image(pictures[i], self.image_size) for i in whole)
        for i, (score, values) in zip(whole, self._in_batches(resized, size), strict=True):
            found[i] = score, resize_map(values, pictures[i].shape[:2]), values.max()
        for i in sorted(set(range(len(pictures))).difference(whole)):
            picture, (h, w) = tiles.continued(pictures[i], self.image_size), pictures[i].shape[:2]
            scores = []  # a map is let go once it is joined
            places = tiles.corners(picture.shape[:2], self.image_size, overlap)
            parts = self._in_batches(tiles.cut(picture, places, self.image_size), size)
            joined = tiles.blend(
                _keeping(scores, parts), places, self.image_size, picture.shape[:2]
            )[:h, :w]
            found[i] = max(scores), joined, joined.max()
        scores, maps, highest = zip(*(found[i] for i in range(len(pictures))), strict=True)
        return np.array(scores, np.float32), list(maps), [float(value) for value in highest]

    def _is_cut(self, picture: np.ndarray, overlap: int | None) -> bool:
        """Whether it is cut into tiles, in place of being resized."""
        sides = zip(picture.shape[:2], self.image_size, strict=True)
        return overlap is not None and any(side > own for side, own in sides)

    def _in_batches(
        self, parts: Iterable[np.ndarray], size: int
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Score and map of each image of the network's size; the last batch is padded.

        Raises:
          VqadError: what the network says is not finite.
        """
        for here in groups(parts, size):
            found = self._predict(np.stack([*here, *[here[-1]] * (size - len(here))]))
            scores, maps = (np.asarray(found[name])[: len(here)] for name in ("score", "mask"))
            if not (np.isfinite(scores).all() and np.isfinite(maps).all()):
                raise VqadError(
                    f"{self.metadata.get('folder') or self.metadata.get('file', 'the model')}: its "
                    "predictions are not finite; its weights are damaged, or training diverged"
                )
            yield from zip(scores, maps, strict=True)


def _keeping(
    scores: list[float], found: Iterable[tuple[float, np.ndarray]]
) -> Iterator[np.ndarray]:
    """The maps; the scores are added to the list."""
    for score, values in found:
        scores.append(score)
        yield values
