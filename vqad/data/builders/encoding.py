"""Pictures and masks as the bytes that a data set keeps."""

import io

import numpy as np
from PIL import Image

from vqad.data.decode import EXIF_ORIENTATION, decode_image

_RGB_8_BIT = bytes((8, 2))  # depth and colour type in a PNG's header


def encode_picture(data: bytes, name: str) -> tuple[bytes, tuple[int, int]]:
    """Keeps the bytes of a picture that every decoder reads alike, else re-encodes it as RGB PNG.

    Kept are JPEG and PNG in 8-bit RGB without an EXIF orientation. All else (grey, palette, 16
    bits, transparency, turned, other formats) becomes what `decode_image` reads.

    Args:
      data: The file.
      name: What errors call it.

    Returns:
      The bytes of a JPEG or PNG, and its height and width.

    Raises:
      VqadError: As `decode_image`.
    """
    image = decode_image(data, name)
    return (data if _is_plain(data) else _png(image)), image.shape[:2]


def encode_mask(mask: np.ndarray) -> bytes:
    """A mask, uint8 [height, width] of 0 and 1, as a PNG of 0 and 255."""
    return _png(255 * mask)


def _is_plain(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as picture:
        return (
            picture.mode == "RGB"
            and (
                picture.format == "JPEG" or (picture.format == "PNG" and data[24:26] == _RGB_8_BIT)
            )
            and "transparency" not in picture.info
            and getattr(picture, "n_frames", 1) == 1
            and picture.getexif().get(EXIF_ORIENTATION, 1) == 1
        )


def _png(image: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, format="PNG", compress_level=4)
    return data.getvalue()
