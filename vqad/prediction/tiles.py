"""Images larger than the network's size: cut into tiles that overlap, the maps blended there."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vqad.errors import VqadError


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles start along a side: evenly, the first at 0, the last at the end.

    Args:
      length: of the side, at least ``tile``.
      tile: length of a tile.
      overlap: what neighbours share at least, below ``tile``.

    Returns:
      Starts, ascending.

    Example:
      >>> starts(100, 64, overlap=16), starts(150, 64, overlap=16)
      ([0, 36], [0, 43, 86])
    """
    count = 1 + -(-(length - tile) // (tile - overlap))
    return [round(i * (length - tile) / max(count - 1, 1)) for i in range(count)]


def corners(shape: tuple[int, int], tile: tuple[int, int], overlap: int) -> list[tuple[int, int]]:
    """Top left corners of the tiles of an image, row by row.

    Args:
      shape: height and width of the image, each at least the tile's.
      tile: height and width of a tile.
      overlap: what neighbours share at least.

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


def check_overlap(overlap: int, tile: tuple[int, int]) -> None:
    """Refuses an overlap that neighbouring tiles cannot have.

    Raises:
      VqadError: it is negative or not below the tile's sides.
    """
    if not 0 <= overlap < min(tile):
        raise VqadError(f"overlap: {overlap}; give 0 to {min(tile) - 1} for tiles of {tile}")


def cut(
    image: np.ndarray, places: Sequence[tuple[int, int]], tile: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Tiles [th, tw, ...] of an image [h, w, ...], parts of its memory."""
    return (image[top : top + tile[0], left : left + tile[1]] for top, left in places)


def blend(
    maps: Iterable[np.ndarray],
    places: Sequence[tuple[int, int]],
    tile: tuple[int, int],
    shape: tuple[int, int],
) -> np.ndarray:
    """Joins maps of tiles; where tiles overlap, their weights fall linearly towards their edges.

    Args:
      maps: float32 [th, tw] for each tile.
      places: their top left corners.
      tile: height and width of a tile.
      shape: height and width of the image.

    Returns:
      float32 [h, w]; where only one tile lies, that tile's values.
    """
    total, weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    ramp = np.minimum.outer(*map(_ramp, tile))
    for values, (top, left) in zip(maps, places, strict=True):
        here = np.s_[top : top + tile[0], left : left + tile[1]]
        total[here] += ramp * values
        weights[here] += ramp
    return np.divide(total, weights, out=total)


def _ramp(length: int) -> np.ndarray:
    distance = np.arange(1, length + 1, dtype=np.float32)
    return np.minimum(distance, distance[::-1])
