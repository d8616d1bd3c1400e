"""Images larger than the network's size: cut into tiles that overlap, the maps blended there."""

from collections.abc import Iterator, Sequence

import numpy as np


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles start along a side: evenly, the first at 0, the last at the end.

    Args:
      length: of the side, at least ``tile``.
      tile: length of a tile.
      overlap: what neighbours share at least, below ``tile``.

    Example:
      >>> starts(100, 64, overlap=16), starts(150, 64, overlap=16)
      ([0, 36], [0, 43, 86])
    """
    count = 1 + -(-(length - tile) // (tile - overlap))
    return [round(i * (length - tile) / max(count - 1, 1)) for i in range(count)]


def corners(shape: tuple[int, int], tile: tuple[int, int], overlap: int) -> list[tuple[int, int]]:
    """Top left corners of the tiles of an image of at least a tile's size, row by row.

    Example:
      >>> corners((64, 100), (64, 64), overlap=16)
      [(0, 0), (0, 36)]
    """
    rows, columns = (starts(*sides, overlap) for sides in zip(shape, tile, strict=True))
    return [(top, left) for top in rows for left in columns]


def continued(image: np.ndarray, tile: tuple[int, int]) -> np.ndarray:
    """An image [h, w, c] with sides of at least a tile's: shorter ones go on mirrored."""
    missing = [max(0, own - side) for side, own in zip(image.shape, tile, strict=False)]
    if not any(missing):
        return image
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")


def cut(
    image: np.ndarray, places: Sequence[tuple[int, int]], tile: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Tiles [th, tw, ...] of an image [h, w, ...], parts of its memory."""
    return (image[top : top + tile[0], left : left + tile[1]] for top, left in places)


class Blend:
    """Maps of tiles, joined; where tiles overlap, their weights fall linearly to their edges."""

    def __init__(self, shape: tuple[int, int], tile: tuple[int, int]) -> None:
        """Of an image [h, w] and tiles [th, tw]; a map is let go once it is added."""
        self._total, self._weights = np.zeros((2, *shape), np.float32)
        rows, columns = (np.arange(1, side + 1, dtype=np.float32) for side in tile)
        ramps = (np.minimum(distance, distance[::-1]) for distance in (rows, columns))
        self._ramp = np.minimum.outer(*ramps)

    def add(self, values: np.ndarray, top: int, left: int) -> None:
        """Adds the map float32 [th, tw] of the tile whose top left corner lies there."""
        height, width = values.shape
        here = np.s_[top : top + height, left : left + width]
        self._total[here] += self._ramp * values
        self._weights[here] += self._ramp

    def joined(self) -> np.ndarray:
        """The map, float32 [h, w]; where only one tile lies, that tile's values."""
        return np.divide(self._total, self._weights, out=self._total)
