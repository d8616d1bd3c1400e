"""A trained model in Python: images in; scores, masks and verdicts out."""

import dataclasses
import functools
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vqad.data.decode import Decoded, decode, resize_image
from vqad.data.formats import Picture
from vqad.data.numbers import ValueRange
from vqad.errors import VqadError
from vqad.models.dsr import Dsr
from vqad.prediction.jitted import Predict, make_predict
from vqad.prediction.pictures import to_uint8
from vqad.prediction.remarks import Remarks, resizing
from vqad.prediction.scoring import Scored, score
from vqad.prediction.thresholds import Thresholds, check_rate, conformal_quantile

OVERLAP = 1 / 4
"""Share of a tile's shorter side that neighbours have in common."""
UNDECIDED = 0.5
"""What pixels are shown to exceed without thresholds."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a detector says of one image, or of each image of a batch.

    Attributes:
      scores: float32 in [0, 1], higher where a defect is likelier; of one image without an axis, of
        several [n], as ``verdicts``.
      masks: float32 in [0, 1], for each pixel of the image as it was given; of one image [h, w], of
        several of one size [n, h, w], of several sizes a list, as ``marks``.
      verdicts: bool, defective or not; None without thresholds of predictions of this kind.
      marks: bool, the pixels that are called defective; None where there are no verdicts.
    """

    scores: np.ndarray
    masks: np.ndarray | list[np.ndarray]
    verdicts: np.ndarray | None
    marks: np.ndarray | list[np.ndarray] | None

    @property
    def shown(self) -> np.ndarray | list[np.ndarray]:
        """The marks or, without thresholds, what is more likely defective than not."""
        if self.marks is not None:
            return self.marks
        if isinstance(self.masks, np.ndarray):
            return self.masks > UNDECIDED
        return [mask > UNDECIDED for mask in self.masks]


def _one_by_one(images: Any) -> tuple[Iterable[Any], bool]:
    """Pictures in turn, and whether one was given alone, or what is none at all."""
    kinds = bytes | bytearray | str | os.PathLike | io.IOBase | Image.Image | Decoded
    alone = isinstance(images, kinds)
    if hasattr(images, "__array__") and hasattr(images, "ndim"):
        # A row of paths, as a table's column, is several.
        paths = images.ndim == 1 and np.asarray(images).dtype.kind in "OU"
        alone = alone or (images.ndim < 4 and not paths)
    alone = alone or not isinstance(images, Iterable)
    return ([images] if alone else images), alone


@dataclasses.dataclass(eq=False, repr=False)
class Detector:
    """A trained model. ``vqad.load`` makes one of a folder or an export.

    Attributes:
      model: the network.
      variables: all its variables, ``params`` and ``codebook``, NumPy arrays.
      image_size: height and width at which the networks see an image.
      thresholds: where verdicts come from, or None.
      metadata: what the checkpoint says of its training, with ``model``, the fields of ``Dsr``,
        ``step`` and, of a folder, ``folder`` and ``weights``, the digest of its variables.
      split: what the devices of this process share, as for ``make_predict``.
      value_range: the numbers of black and white in pictures of more than 8 bits, and in floats;
        those that it was trained with, or calibrated with since. None: what each picture says.
    """

    model: Dsr
    variables: Mapping
    image_size: tuple[int, int]
    thresholds: Thresholds | None
    metadata: Mapping[str, Any]
    split: str = "nothing"
    value_range: ValueRange | None = None

    @functools.cached_property
    def predict_batch(self) -> Predict:
        """The jitted prediction of images uint8 [n, *image_size, 3]; see ``make_predict``."""
        return make_predict(self.model, self.variables, self.split)

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
        brought back to the image's own size. One image that is resized is computed alone; tiles and
        several images come ``batch_size`` at a time, padded, with results that differ by rounding.

        Args:
          images: one picture, or a sequence of them, or an array [n, h, w, c]. A picture is a path
            (``x.tif[2]`` is the third page), the bytes of a file, Pillow's image, or an array of
            NumPy or what becomes one: [h, w], [h, w, 1], RGB [h, w, 3] or RGBA [h, w, 4], of uint8,
            uint16, bool or floats in [0, 1]; with ``value_range`` of any numbers.
          tile: cut images of which a side is longer than that of ``image_size`` into tiles; a
            shorter side is continued by its mirror image.
          overlap: pixels that neighbouring tiles share at least; a quarter of the shorter side if
            None.
          batch_size: images or tiles computed at a time.

        Raises:
          VqadError: a picture that cannot be read, or is of no such kind, a bad ``overlap`` or
            ``batch_size``, or predictions that are not finite.

        Examples:
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
        given, one = _one_by_one(images)
        overlap = self._overlap(tile, overlap)
        pictures = list(self._read(given, overlap, "image" if one else ""))
        if not pictures:
            raise VqadError("images: none given; give at least one")
        found = list(self._scored(pictures, overlap, 1 if one and not tile else batch_size))
        scores = np.array([each.score for each in found], np.float32)
        maps, verdicts, marks = [each.map for each in found], None, None
        if self.thresholds is not None and self.has_thresholds(tile, overlap):
            limits = self.thresholds
            verdicts, marks = scores > limits.score, [values > limits.pixel for values in maps]
        if one:
            verdict, mark = (None if each is None else each[0] for each in (verdicts, marks))
            return Prediction(scores[0], maps[0], verdict, mark)
        if len({values.shape for values in maps}) > 1:
            return Prediction(scores, maps, verdicts, marks)
        return Prediction(
            scores, np.stack(maps), verdicts, None if marks is None else np.stack(marks)
        )

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

        At most a share ``rate`` of good images is to be called defective by ``predict``, which uses
        the thresholds from now on for predictions of the same kind; its arguments are the same. The
        pixels' threshold is taken from maps of ``image_size`` (or of tiles, joined), whose highest
        values are no lower than when they are resized.

        Raises:
          VqadError: too few images for this rate, and what ``predict`` raises.
        """
        check_rate("rate", rate)
        overlap = self._overlap(tile, overlap)
        given, _ = _one_by_one(pictures)
        found = self._scored(self._read(given, overlap), overlap, batch_size)
        scores, highest = np.array([(each.score, each.highest) for each in found]).reshape(-1, 2).T
        self.thresholds = Thresholds(
            score=conformal_quantile(scores, rate),
            pixel=conformal_quantile(highest, rate),
            rate=rate,
            images=len(scores),
            step=int(self.metadata["step"]),
            image_size=self.image_size,
            tiled=tile,
            overlap=overlap,
            weights=self.metadata.get("weights"),
            value_range=self.value_range,
        )
        return self.thresholds

    def reconstruct(self, image: Picture) -> tuple[np.ndarray, np.ndarray]:
        """I_gen and I_spc, uint8 [*image_size, 3], of one image, given as for ``predict``."""
        (picture,) = self._read([image], None, "image")
        found = self.predict_batch(resize_image(picture, self.image_size)[None])
        return to_uint8(found["general"][0]), to_uint8(found["specific"][0])

    def has_thresholds(self, tile: bool, overlap: int | None = None) -> bool:
        """Whether there are thresholds, of predictions of this kind, and so verdicts."""
        limits, kind = self.thresholds, (tile, self.image_size, self._overlap(tile, overlap))
        if limits is None or limits.value_range != self.value_range:
            return False
        return (limits.tiled, limits.image_size, limits.overlap) == kind

    @functools.cached_property
    def remarks(self) -> Remarks:
        """What was said of pictures so far: of each kind once."""
        return Remarks()

    def _read(
        self, pictures: Iterable[Picture | Decoded], overlap: int | None, name: str = ""
    ) -> Iterator[np.ndarray]:
        """Pictures in turn, as uint8 [h, w, 3]; what was left out or changed is told."""
        for number, picture in enumerate(pictures):
            if not isinstance(picture, Decoded):
                told: str | None = name or f"images[{number}]"
                if isinstance(picture, str | os.PathLike):
                    picture, told = os.path.expanduser(picture), None
                picture = decode(picture, None, told, self.value_range)
            resized = resizing(picture.size, self.image_size, overlap)
            self.remarks.add(picture.name, [*picture.notes, *resized])
            yield picture.image

    def _overlap(self, tile: bool, overlap: int | None) -> int | None:
        """The overlap that is meant, None without tiles; raises a VqadError for a bad one."""
        if not tile:
            return None
        if overlap is None:
            return round(min(self.image_size) * OVERLAP)
        if not 0 <= overlap < min(self.image_size):
            raise VqadError(
                f"overlap: {overlap}; give 0 to {min(self.image_size) - 1} for tiles of "
                f"{self.image_size}"
            )
        return overlap

    def _scored(
        self, pictures: Iterable[np.ndarray], overlap: int | None, batch_size: int
    ) -> Iterator[Scored]:
        name = self.metadata.get("folder") or self.metadata.get("file", "the model")
        return score(self.predict_batch, pictures, self.image_size, overlap, batch_size, name)
