"""The pictures of the page: small, as data URIs."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from vqad.prediction.pictures import COLOUR, outline

TRUTH_COLOUR = (0, 220, 255)
_LEVELS = 8
_MARKED, _TRUE = _LEVELS + 1, _LEVELS + 2
_PALETTE = [COLOUR] * (_LEVELS + 2) + [TRUTH_COLOUR]
_ALPHA = [round(255 * 0.6 * level / _LEVELS) for level in range(_LEVELS + 1)] + [255, 255]


def thumbnail(image: np.ndarray, side: int) -> str:
    """An image uint8 [h, w, 3] as WebP, its longest side at most ``side`` pixels."""
    small = Image.fromarray(image).resize(_size(image.shape, side), Image.Resampling.BOX)
    return _uri(small, "webp", quality=60)


def drawing(values: np.ndarray, limit: float, truth: np.ndarray, side: int) -> str:
    """What lies over a thumbnail: the map in red, what it marks and the truth as outlines.

    A PNG of 11 colours, of which each map takes about a kilobyte: of a map float32 [h, w] in
    [0, 1], in which higher values than ``limit`` are marked, and a truth [h, w] of 0 and 1.
    """
    size = _size(values.shape, side)
    small = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
    drawn = np.round(np.clip(small, 0, 1) * _LEVELS).astype(np.uint8)
    # Lines last: a marked or defective region of one pixel is to be seen.
    drawn[outline(_any(values > limit, size))] = _MARKED
    # The truth's line runs just outside of it, where a mark that fits leaves it to be seen.
    defective = _any(truth > 0, size)
    drawn[ndimage.binary_dilation(defective) & ~defective] = _TRUE
    picture = Image.fromarray(drawn).convert("P")
    picture.putpalette(np.array(_PALETTE, np.uint8).tobytes())
    return _uri(picture, "png", optimize=True, bits=4, transparency=bytes(_ALPHA))


def _size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Width and height that fit a square of ``side`` pixels; what is smaller stays so."""
    scale = min(1, side / max(shape[:2]))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _any(marked: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where any pixel of those that become one is set."""
    full = Image.fromarray(marked.astype(np.float32))
    return np.asarray(full.resize(size, Image.Resampling.BOX)) > 1e-6


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
