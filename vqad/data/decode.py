"""From the bytes of a picture or a mask to arrays, and from one size to another."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from etils import epath
from PIL import Image, ImageOps

from vqad.errors import VqadError, reason
from vqad.paths import is_remote

PictureData = bytes | str | os.PathLike
Size = tuple[int, int]  # height and width

MASK_COVERAGE = 0.25
"""Share of a target pixel that a defect must cover for the pixel to count as defective."""

EXIF_ORIENTATION = 0x0112
FORMATS = ("JPEG", "PNG", "BMP", "TIFF")  # Pillow's other readers see nothing of a file
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")

_TOLD: dict[type[Exception], str] = {  # the first that fits is said
    VqadError: "{}",
    Image.DecompressionBombError: "has more pixels than a picture can be trusted to have ({}); "
    "cut it into smaller ones or remove it",
    Image.UnidentifiedImageError: f"not a picture in a known format ({', '.join(FORMATS)}); "
    "replace or remove it",
    FileNotFoundError: "no such file; check the path",
    Exception: "damaged or incomplete picture ({}); replace or remove it",  # Pillow raises anything
}


def is_picture(name: str) -> bool:
    """Whether a file is called as a picture; companion files of macOS are not."""
    return name.lower().endswith(SUFFIXES) and not os.path.basename(name).startswith(".")


@contextmanager
def _opened(data: PictureData, name: str | None) -> Iterator[Image.Image]:
    """Opens a picture; what Pillow raises until it is closed becomes a VqadError with its name."""
    name = name or ("picture" if isinstance(data, bytes) else os.fspath(data))
    try:
        if not isinstance(data, bytes) and is_remote(data):
            data = epath.Path(data).read_bytes()
        file = io.BytesIO(data) if isinstance(data, bytes) else Path(data)
        if isinstance(file, Path) and file.exists() and not file.is_file():
            raise VqadError("a folder, a pipe or a device, not a file; remove it")
        with Image.open(file, formats=FORMATS) as picture:
            yield picture
    except Exception as error:
        said = next(words for kind, words in _TOLD.items() if isinstance(error, kind))
        raise VqadError(f"{name}: {said.format(reason(error))}") from error


def _to_8_bit(picture: Image.Image) -> Image.Image:
    """Greys of more than 8 bits as 8-bit grey: 65535 becomes 255, a float picture is refused."""
    values = np.asarray(picture)
    if values.dtype.kind == "f" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise VqadError("grey values outside 0..65535 or not whole; convert it to 8 or 16 bits")
    # A 32-bit file (mode I) may hold 8-bit values; 16-bit files are always 16-bit.
    if picture.mode == "I" and values.max(initial=0) <= 255:
        return Image.fromarray(values.astype(np.uint8))
    values = values.astype(np.uint32)
    values += 128  # in place: of a large picture each copy counts
    values //= 257
    return Image.fromarray(values.astype(np.uint8))


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _to_8_bit(picture)
    if picture.mode in ("P", "PA", "LA", "La", "RGBa"):
        picture = picture.convert("RGBA")  # the colour under transparency, then without it
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def decode_image(data: PictureData, name: str | None = None) -> np.ndarray:
    """Reads a picture as RGB.

    Grey, palette and CMYK pictures become RGB, 16-bit greys are divided by 257 and rounded (of
    16-bit colours Pillow reads the high bytes), alpha is dropped and the EXIF orientation applied.

    Args:
      data: The file's bytes or its path.
      name: What errors call it; the path by default.

    Returns:
      uint8 [height, width, 3], read-only.

    Raises:
      VqadError: The file is missing, not a picture, damaged, truncated or suspiciously large.
    """
    return decode_resized(data, None, name)[0]


def decode_resized(
    data: PictureData, size: Size | None, name: str | None = None
) -> tuple[np.ndarray, Size]:
    """What `decode_image` and then `resize_image` give, with fewer copies in between.

    Returns:
      uint8 [*size, 3], read-only (of its own size where `size` is None), and the picture's own
      height and width.
    """
    with _opened(data, name) as picture:
        ImageOps.exif_transpose(picture, in_place=True)  # no copy where nothing is to be turned
        rgb = _to_rgb(picture)
        width, height = rgb.size
        if size not in (None, (height, width)):
            rgb = rgb.resize(size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(rgb), (height, width)


def read_mask(data: PictureData, name: str | None = None) -> np.ndarray:
    """Reads the values of a mask, in any format `decode_image` reads.

    Returns:
      [height, width], 0 where there is no defect; of colours the largest, of 16-bit colours the
      high bytes; of a JPEG 255 where it is brighter than half.
    """
    with _opened(data, name) as picture:
        is_jpeg, picture = picture.format == "JPEG", ImageOps.exif_transpose(picture)
        # 16-bit greys stay as they are: made 8-bit, small values would vanish.
        deep = picture.mode == "F" or picture.mode.startswith("I")
        values = np.array(picture) if deep else np.asarray(_to_rgb(picture)).max(axis=-1)
        # JPEG has a few greys around black and white.
        return np.where(values < 128, np.uint8(0), np.uint8(255)) if is_jpeg else values


def decode_mask(data: PictureData, name: str | None = None, size: Size | None = None) -> np.ndarray:
    """Reads a mask: whatever is not black is defective.

    Returns:
      uint8 [height, width], 1 where defective, else 0.

    Raises:
      VqadError: As `decode_image`, or it has not the size of its image, if that is given.
    """
    mask = read_mask(data, name)
    if size is not None:
        check_mask_size(name or os.fspath(data), mask.shape, size)
    return (mask != 0).astype(np.uint8)


def check_mask_size(name: str, mask: Size, image: Size) -> None:
    """Refuses a mask whose height and width are not those of its image."""
    if tuple(mask) != tuple(image):
        raise VqadError(
            f"{name}: mask of {mask[1]} x {mask[0]} for an image of {image[1]} x {image[0]} "
            "(width x height); make the mask the size of its image"
        )


class Header(NamedTuple):
    """What a picture's first bytes tell: the size `decode_image` gives it, and how it is kept."""

    height: int
    width: int
    mode: str
    bits: int


def read_header(data: PictureData, name: str | None = None) -> Header:
    """Size, Pillow's mode and bits per channel of a picture, without decoding it."""
    with _opened(data, name) as picture:
        width, height = picture.size
        # Without this, Pillow decodes a whole PNG to look for EXIF data behind the pixels.
        known = picture.format != "PNG" or "exif" in picture.info
        if known and picture.getexif().get(EXIF_ORIENTATION) in (5, 6, 7, 8):
            width, height = height, width
        stored = f"{picture.mode} {[tile.args for tile in getattr(picture, 'tile', ())]}"
        bits = {"1": 1, "I": 32, "F": 32}.get(picture.mode, 8)
        if ";16" in stored:  # Pillow reads the high bytes of 16-bit colours, and says so here
            bits = 16
        return Header(height, width, picture.mode, bits)


def resize_image(image: np.ndarray, size: Size, box: tuple[float, ...] | None = None) -> np.ndarray:
    """Resizes with antialiasing: a triangle filter as wide as the reduction asks for.

    Args:
      image: uint8 [height, width, 3].
      size: The height and width wanted.
      box: The part to take, (left, top, right, bottom) in pixels; the whole image by default.

    Returns:
      uint8 [*size, 3], read-only; the image itself where nothing has to be done.
    """
    if image.shape[:2] == tuple(size) and box is None:
        return image
    picture = Image.fromarray(image)
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR, box=box))


def resize_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """Resizes a mask so that thin defects stay.

    A target pixel is defective where at least a quarter of the source pixels in it are: a line 3
    pixels wide survives a reduction of 900 to 256. Should that leave nothing of a mask that has a
    defect, the target pixels covered at least half as much as the best covered one are taken, so a
    defective image never gets an empty mask.

    Args:
      mask: uint8 [height, width] of 0 and 1.
      size: The height and width wanted.

    Returns:
      uint8 [*size] of 0 and 1.
    """
    if mask.shape == tuple(size):
        return mask
    picture = Image.fromarray(mask.astype(np.float32))
    coverage = np.asarray(picture.resize(size[::-1], Image.Resampling.BOX))
    most = coverage.max(initial=0)
    least = MASK_COVERAGE if most >= MASK_COVERAGE else most / 2
    return ((coverage >= least) & (coverage > 0)).astype(np.uint8)
