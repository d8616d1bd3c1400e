"""From a picture or a mask of any kind to arrays, and from one size to another."""

import os
from typing import NamedTuple

import numpy as np
from PIL import Image

from vqad.data import tiff
from vqad.data.formats import (
    EXIF_ORIENTATION,
    Picture,
    PictureData,
    choose,
    explained,
    is_reduced,
    open_page,
    opened,
    read_pixels,
)
from vqad.data.numbers import LITTLE, Note, Numbers, ValueRange, eight_bits
from vqad.errors import VqadError

Size = tuple[int, int]  # height and width

MASK_COVERAGE = 0.25
"""Share of a target pixel that a defect must cover for the pixel to count as defective."""


class Decoded(NamedTuple):
    """A picture as RGB: uint8 [h, w, 3], its own height and width, its name, and what to say."""

    image: np.ndarray
    size: Size
    name: str
    notes: list[Note]


def decode(
    picture: Picture,
    size: Size | None = None,
    name: str | None = None,
    value_range: ValueRange | None = None,
) -> Decoded:
    """Reads a picture of any kind as RGB, the same whichever way it is given.

    Grey, palette and CMYK become RGB, alpha is dropped and the orientation of EXIF or TIFF applied.
    Of more than 8 bits, greys are divided (by 257 of 16 bits) and rounded, and of colours the high
    byte is taken, as Pillow does; white is what the file says, 65535 in uint16 and 1 in floats.

    Args:
      picture: A path, with the page in brackets where it has several (``x.tif[2]``); the bytes of a
        file; Pillow's image, its current page; or an array [h, w], [h, w, 1], RGB [h, w, 3] or RGBA
        [h, w, 4].
      size: The height and width wanted, resized as by `resize_image`; its own by default.
      name: What errors call it; the path by default.
      value_range: The numbers of black and white of what has more than 8 bits, and of floats.

    Returns:
      The picture, read-only unless it is the array given.

    Raises:
      VqadError: Not a picture, damaged, truncated, suspiciously large, of several pages, or nothing
        tells which number white is.
    """
    name = _named(picture, name)
    with explained(name):
        kept, notes, reduced = read_pixels(picture, value_range is not None)
        if isinstance(kept, Numbers):
            values, more = eight_bits(kept, value_range)
            alpha = () if kept.alpha is None else (kept.alpha.min(), kept.alpha.max())
            image = _three_channels(values)
            own = image.shape[:2]
            image = resize_image(image, size or own)
            image.setflags(write=False)
        else:
            rgb, alpha = _to_rgb(kept)
            dark = reduced and max(high for _, high in rgb.getextrema()) <= LITTLE
            more, own = [("dark", "its 16 bits")] if dark else [], rgb.size[::-1]
            if size not in (None, own):
                rgb = rgb.resize(size[::-1], Image.Resampling.BILINEAR)
            image = np.asarray(rgb)
        more += [("alpha",)] if len(set(alpha)) > 1 else []
        return Decoded(image, own, name, notes + more)


def decode_image(
    picture: Picture, name: str | None = None, value_range: ValueRange | None = None
) -> np.ndarray:
    """The image, uint8 [height, width, 3], that `decode` gives."""
    return decode(picture, None, name, value_range).image


def _named(picture: Picture, name: str | None) -> str:
    return name or (isinstance(picture, str | os.PathLike) and os.fspath(picture)) or "picture"


def _three_channels(values: np.ndarray) -> np.ndarray:
    if values.ndim == 2:
        return np.repeat(values[..., None], 3, axis=-1)
    if values.shape[2] == 4:
        cmyk = [Image.fromarray(np.ascontiguousarray(part)) for part in np.moveaxis(values, -1, 0)]
        return np.asarray(Image.merge("CMYK", cmyk).convert("RGB"))
    return values


def _to_rgb(picture: Image.Image) -> tuple[Image.Image, tuple[int, ...]]:
    """An image as RGB, and the lowest and highest alpha, where it has such."""
    alpha: tuple[int, ...] = ()
    if picture.mode in ("P", "PA", "LA", "La", "RGBa"):
        picture = picture.convert("RGBA")  # the colour under transparency, then without it
    if picture.mode == "RGBA":
        alpha = picture.getchannel("A").getextrema()
    if picture.mode == "LAB":
        raise VqadError("colours kept as LAB; save it as RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB"), alpha


def read_mask(data: PictureData, name: str | None = None) -> np.ndarray:
    """Reads the values of a mask, in any format `decode` reads.

    Transparent parts are no defect. Opaque parts of one colour are, whatever colour that is, as
    where a mask was drawn in a layer of its own; those of several colours are as these say.

    Returns:
      [height, width], 0 where there is no defect; of colours the largest, of 16-bit colours the
      high bytes; of a JPEG 255 where it is brighter than half. 16-bit greys stay as they are: made
      8-bit, small values would vanish.
    """
    with explained(_named(data, name)):
        kept = read_pixels(data).kept
        if isinstance(kept, Numbers):
            values, alpha = kept.values, kept.alpha
            if kept.negative:
                values = np.subtract(kept.most, values, dtype=np.float64)
        elif kept.has_transparency_data:
            rgba = np.asarray(kept.convert("RGBA"))
            values, alpha = rgba[..., :3], rgba[..., 3]
        else:
            values, alpha = np.asarray(_to_rgb(kept)[0]), None
            if kept.format == "JPEG":  # which has a few greys around black and white
                values = np.where(values < 128, np.uint8(0), np.uint8(255))
        values = values if values.ndim == 2 else values.max(axis=-1)
        if alpha is None or alpha.min() == alpha.max():
            return values
        opaque = values[alpha > 0]
        return alpha if opaque.min() == opaque.max() else np.where(alpha > 0, values, 0)


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


def check_mask_size(name: str, mask: Size, image: Size, orientation: int = 1) -> None:
    """Refuses a mask whose height and width are not those of its image, turned by its EXIF."""
    if tuple(mask) != tuple(image):
        advice = "make the mask the size of its image"
        if orientation >= 5 and tuple(mask) == tuple(image)[::-1]:
            advice = (
                f"it fits before the image's EXIF orientation {orientation} turns it: save the "
                "image without that orientation, or turn the mask"
            )
        raise VqadError(
            f"{name}: mask of {mask[1]} x {mask[0]} for an image of {image[1]} x {image[0]} "
            f"(width x height); {advice}"
        )


class Header(NamedTuple):
    """What a picture's first bytes tell: the size `decode` gives it, and how it is kept."""

    height: int
    width: int
    mode: str  # as Pillow calls it
    bits: int  # of a channel
    orientation: int  # of EXIF or TIFF, from 1, as it lies, to 8


def read_header(data: PictureData, name: str | None = None) -> Header:
    """What the first bytes of a picture tell, without decoding it; raises what `decode` does."""
    with explained(_named(data, name)), opened(data) as (file, page):
        if tiff.is_tiff(file):
            with tiff.pages(file) as pages:
                return Header(*pages[choose(len(pages), page)].header)
        picture, _ = open_page(file, page)
        (width, height), orientation = picture.size, 1
        # Without this, Pillow decodes a whole PNG to look for EXIF data behind the pixels.
        if picture.format != "PNG" or "exif" in picture.info:
            orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
        if orientation in (5, 6, 7, 8):
            width, height = height, width
        deep = picture.mode.startswith("I") or is_reduced(picture)
        bits = 1 if picture.mode == "1" else 16 if deep else 8
        return Header(height, width, picture.mode, bits, orientation)


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
