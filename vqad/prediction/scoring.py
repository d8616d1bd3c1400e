"""Pictures of any size through a network of one size: resized, or cut into tiles and joined."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vqad.data.decode import resize_image
from vqad.errors import VqadError
from vqad.prediction.inputs import groups
from vqad.prediction.jitted import Predict
from vqad.prediction.pictures import resize_map


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles start along a side of at least a tile: evenly, the last at its end.

    Examples:
      >>> starts(100, 64, overlap=16), starts(150, 64, overlap=16)
      ([0, 36], [0, 43, 86])
    """
    count = 1 + -(-(length - tile) // (tile - overlap))
    return [round(i * (length - tile) / max(count - 1, 1)) for i in range(count)]


def places(
    shape: tuple[int, int], tile: tuple[int, int], overlap: int | None
) -> list[tuple[int, int]]:
    """Top left corners of an image's tiles, row by row; none if no side is longer than a tile's.

    Neighbours share at least ``overlap`` pixels, fewer than a tile's sides; None cuts no image.

    Examples:
      >>> places((50, 100), (64, 64), overlap=16), places((50, 64), (64, 64), overlap=16)
      ([(0, 0), (0, 36)], [])
    """
    sides = np.maximum(shape, tile).tolist()
    if overlap is None or sides == list(tile):
        return []
    rows, columns = (starts(*side, overlap) for side in zip(sides, tile, strict=True))
    return [(top, left) for top in rows for left in columns]


def cut(
    image: np.ndarray, corners: Sequence[tuple[int, int]], tile: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Tiles [th, tw, c] of an image [h, w, c]; shorter sides go on mirrored."""
    missing = [max(0, own - side) for side, own in zip(image.shape, tile, strict=False)]
    if any(missing):
        image = np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
    return (image[top : top + tile[0], left : left + tile[1]] for top, left in corners)


class Blend:
    """Maps of tiles, joined; where tiles overlap, their weights fall linearly to their edges."""

    def __init__(self, shape: tuple[int, int], tile: tuple[int, int]) -> None:
        """Of an image [h, w] and tiles [th, tw]; a map is let go once it is added."""
        self._total, self._weights = np.zeros((2, *shape), np.float32)
        ramps = (np.arange(1, side + 1, dtype=np.float32) for side in tile)
        self._ramp = np.minimum.outer(*(np.minimum(ramp, ramp[::-1]) for ramp in ramps))

    def add(self, values: np.ndarray, top: int, left: int) -> None:
        """Adds the map float32 [th, tw] of the tile whose top left corner lies there."""
        here = np.s_[top : top + len(values), left : left + values.shape[1]]
        self._total[here] += self._ramp * values
        self._weights[here] += self._ramp

    def joined(self) -> np.ndarray:
        """The map, float32 [h, w]; where only one tile lies, that tile's values."""
        return np.divide(self._total, self._weights, out=self._total)


class Scored(NamedTuple):
    """A picture's score, its map float32 [h, w], and the largest value before that is resized."""

    score: float
    map: np.ndarray
    highest: float


def score(
    predict: Predict,
    pictures: Iterable[np.ndarray],
    size: tuple[int, int],
    overlap: int | None,
    batch_size: int,
    name: str,
) -> Iterator[Scored]:
    """Scores pictures uint8 [h, w, 3] in turn; no more of them are kept than are in a batch.

    Larger ones than ``size``, which ``predict`` takes, are cut into tiles with that overlap, or
    resized if None. The last batch is padded. Raises a VqadError for a bad batch size, and if what
    the network, called ``name``, says is not finite.
    """
    if batch_size < 1:
        raise VqadError(f"batch_size: {batch_size}; must be at least 1")

    def seen(picture: np.ndarray) -> Iterable[np.ndarray]:
        """What the network sees of a picture: all of it, resized, or its tiles."""
        corners = places(picture.shape[:2], size, overlap)
        return cut(picture, corners, size) if corners else [resize_image(picture, size)]

    ahead, pictures = itertools.tee(pictures)
    parts = itertools.chain.from_iterable(map(seen, ahead))
    found = _in_batches(predict, parts, batch_size, name)
    for picture in pictures:
        shape = picture.shape[:2]
        corners = places(shape, size, overlap)
        if not corners:
            value, values = next(found)
            yield Scored(value, resize_map(values, shape), values.max())
            continue
        whole, scores = Blend(np.maximum(shape, size), size), []
        for place, (value, values) in zip(corners, found, strict=False):
            scores.append(value)
            whole.add(values, *place)
        joined = whole.joined()[: shape[0], : shape[1]]
        yield Scored(max(scores), joined, joined.max())


def _in_batches(
    predict: Predict, parts: Iterable[np.ndarray], size: int, name: str
) -> Iterator[tuple[float, np.ndarray]]:
    for here in groups(parts, size):
        found = predict(np.stack([*here, *[here[-1]] * (size - len(here))]))
        scores, maps = (np.asarray(found[key])[: len(here)] for key in ("score", "mask"))
        if not (np.isfinite(scores).all() and np.isfinite(maps).all()):
            raise VqadError(
                f"{name}: its predictions are not finite; its weights are damaged, or training "
                "diverged"
            )
        yield from zip(scores, maps, strict=True)
