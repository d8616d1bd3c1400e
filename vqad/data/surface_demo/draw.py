"""Draws image number so-and-so of the data set: the same one on every machine and every time."""

from typing import NamedTuple

import numpy as np

from vqad.data.layouts import GOOD
from vqad.data.surface_demo.defects import DEFECTS
from vqad.data.surface_demo.textures import metal_tile, picture

SIZE = 128
SEED = 2022
CLASSES = (GOOD, *DEFECTS)

_PICTURE, _TILE = 0, 1


class Tile(NamedTuple):
    """A tile as it is, the same one before it was damaged, and where it is damaged.

    `image` and `clean` are uint8 [128, 128, 3], `mask` is uint8 [128, 128] of 0 and 1. Outside the
    mask the two images are equal.
    """

    image: np.ndarray
    clean: np.ndarray
    mask: np.ndarray


def draw_tile(number: int, class_name: str = GOOD) -> Tile:
    """Draws a metal tile, damaged as `class_name` says; each number is another tile."""
    rng = np.random.default_rng((SEED, _TILE, number))
    surface = metal_tile(rng, SIZE)
    clean = _to_uint8(surface)
    if class_name == GOOD:
        return Tile(clean, clean, np.zeros((SIZE, SIZE), np.uint8))
    painted, mask = DEFECTS[class_name](rng, surface)
    return Tile(np.where(mask[..., None], _to_uint8(painted), clean), clean, mask.astype(np.uint8))


def draw_picture(number: int) -> np.ndarray:
    """Draws a picture of anything, uint8 [128, 128, 3]; each number is another one."""
    return _to_uint8(picture(np.random.default_rng((SEED, _PICTURE, number)), SIZE))


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
