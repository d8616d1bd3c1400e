"""What a detector takes for a picture; maps at a picture's size, and drawn over it."""

import os

import numpy as np
from PIL import Image
from scipy import ndimage

from vqad.data.decode import decode_image
from vqad.errors import VqadError

COLOUR = (255, 40, 40)
Picture = np.ndarray | Image.Image | str | os.PathLike


def as_picture(image: Picture) -> np.ndarray:
    """A picture as uint8 [h, w, 3]; a VqadError if it cannot be read, or is of another kind.

    It may be a path, Pillow's RGB or grey, or an array [h, w, 3] or [h, w], uint8 or in [0, 1].
    """
    if isinstance(image, str | os.PathLike):
        return decode_image(os.path.expanduser(image))
    if isinstance(image, Image.Image) and image.mode not in ("RGB", "L"):
        raise VqadError(
            f"image: Pillow's mode {image.mode}; give its path, or image.convert('RGB')"
        )
    image = np.asarray(image)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise VqadError(f"image: an array of shape {image.shape}; give [height, width, 3] (RGB)")
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f" or not (image.min() >= 0 and image.max() <= 1):
        raise VqadError(f"image: {image.dtype} outside [0, 1]; give uint8, or floats in [0, 1]")
    return to_uint8(image)


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
