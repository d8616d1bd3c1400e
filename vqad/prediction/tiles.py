"""Images larger than the network's size: cut into tiles that overlap, the maps blended there."""

from collections.abc import Iterator, Sequence

import numpy as np


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
