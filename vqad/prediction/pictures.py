"""Maps at a picture's size, and drawn over it."""

import numpy as np
from PIL import Image
from scipy import ndimage

COLOUR = (255, 40, 40)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Floats as pixels: what is in [0, 1] to 0 to 255, rounded."""
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def resize_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a map float32 [h, w] bilinearly."""
    if values.shape == tuple(size):
        return values
    resized = Image.fromarray(values.astype(np.float32)).resize(
        (size[1], size[0]), Image.Resampling.BILINEAR
    )
    return np.asarray(resized)


def overlay(image: np.ndarray, values: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Reddens an image uint8 [h, w, 3] by its map float32 [h, w]; outlines marks bool [h, w]."""
    share = 0.6 * np.clip(values, 0, 1)[..., None]
    drawn = image * (1 - share) + np.array(COLOUR, np.float32) * share
    drawn[outline(marked)] = COLOUR
    return np.round(drawn).astype(np.uint8)


def outline(marked: np.ndarray) -> np.ndarray:
    """The pixels of a mask bool [h, w] that have a neighbour outside of it; bool [h, w]."""
    return marked & ~ndimage.binary_erosion(marked)
