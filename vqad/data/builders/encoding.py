"""Pictures and masks as the bytes that a data set keeps."""

import io

import numpy as np
from PIL import Image

from vqad.data.decode import decode_image
from vqad.data.formats import EXIF_ORIENTATION

_RGB_8_BIT = bytes((8, 2))  # depth and colour type in a PNG's header


def encode_picture(data: bytes, name: str) -> tuple[io.BytesIO, tuple[int, int]]:
    """A picture as a JPEG or PNG that every decoder reads alike, and its height and width.

    JPEG and PNG in 8-bit RGB without an EXIF orientation stay as they are. All else (grey, palette,
    16 bits, transparency, turned, other formats) becomes a PNG of what `decode_image` reads.
    """
    image = decode_image(data, name)
    return (io.BytesIO(data) if _is_plain(data) else encode_png(image)), image.shape[:2]


def _is_plain(data: bytes) -> bool:
    if not data.startswith((b"\xff\xd8", b"\x89PNG")):
        return False
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
        deep = picture.format == "PNG" and data[24:26] != _RGB_8_BIT
        return (
            (picture.mode, deep) == ("RGB", False)
            and "transparency" not in picture.info
            and getattr(picture, "n_frames", 1) == 1
            and picture.getexif().get(EXIF_ORIENTATION, 1) == 1
        )


def encode_png(image: np.ndarray) -> io.BytesIO:
    """A PNG of uint8 [height, width] or [height, width, 3]; TFDS would need TensorFlow for it."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, format="PNG", compress_level=4)
    data.seek(0)
    return data
