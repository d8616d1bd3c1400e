"""Pictures and masks as the bytes that a data set keeps."""

import io

import numpy as np
from PIL import Image

from vqad.data.decode import EXIF_ORIENTATION, decode_image

_RGB_8_BIT = bytes((8, 2))  # depth and colour type in a PNG's header


def encode_picture(data: bytes, name: str) -> tuple[io.BytesIO, tuple[int, int]]:
    """Keeps the bytes of a picture that every decoder reads alike, else re-encodes it as RGB PNG.

    Kept are JPEG and PNG in 8-bit RGB without an EXIF orientation. All else (grey, palette, 16
    bits, transparency, turned, other formats) becomes what `decode_image` reads.

    Returns:
      A JPEG or PNG, and its height and width.
    """
    image = decode_image(data, name)
    return (io.BytesIO(data) if _is_plain(data) else encode_png(image)), image.shape[:2]


def _is_plain(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as picture:
        deep = picture.format == "PNG" and data[24:26] != _RGB_8_BIT
        return (
            (picture.mode, deep) == ("RGB", False)
            and picture.format in ("JPEG", "PNG")
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
