"""Pixels as a file, Pillow's image or an array keeps them, by libraries that know formats."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import imagecodecs
import numpy as np
from etils import epath
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from vqad.data import tiff
from vqad.data.numbers import Note, Numbers, most_of, of_array
from vqad.errors import VqadError, reason
from vqad.paths import check_reachable, is_remote

PictureData = bytes | str | os.PathLike
Picture = PictureData | Image.Image | np.ndarray

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "JPEG2000")  # others of Pillow's see nothing of it
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".j2k")
EXIF_ORIENTATION = 0x0112

# Of their colours Pillow keeps 8 bits.
_WHOLE = {"PNG": imagecodecs.png_decode, "JPEG2000": imagecodecs.jpeg2k_decode}
_TOLD: dict[type[Exception], str] = {  # the first that fits is said
    VqadError: "{}",
    Image.DecompressionBombError: "has more pixels than a picture can be trusted to have ({}); "
    "cut it into smaller ones or remove it",
    Image.UnidentifiedImageError: f"not a picture in a known format ({', '.join(FORMATS)}); "
    "replace or remove it",
    FileNotFoundError: "no such file; check the path",
    MemoryError: "too little memory to read it ({}); free some, or make it smaller",
    Exception: "damaged or incomplete picture ({}); replace or remove it",  # readers raise anything
}


def is_picture(name: str) -> bool:
    """Whether a file is called as a picture; companion files of macOS are not."""
    return name.lower().endswith(SUFFIXES) and not os.path.basename(name).startswith(".")


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turns whatever reading a picture raises into a VqadError that names it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, VqadError) and str(error).startswith(f"{name}: "):
            raise
        said = next(words for kind, words in _TOLD.items() if isinstance(error, kind))
        raise VqadError(f"{name}: {said.format(reason(error))}") from error


def split_page(path: str) -> tuple[str, int | None]:
    """A path and the page at its end, as in ``x.tif[2]``, the third; None where there is none."""
    found = re.fullmatch(r"(.+)\[(\d{1,9})\]", path, re.DOTALL)
    if found and not os.path.lexists(path):
        return found[1], int(found[2])
    return path, None


@contextmanager
def opened(data: PictureData) -> Iterator[tuple[BinaryIO, int | None]]:
    """Opens a file, or its bytes; also gives the page that the path ends with."""
    if isinstance(data, bytes):
        yield io.BytesIO(data), None
        return
    path, page = split_page(os.fsdecode(data))
    if not path:
        raise VqadError("an empty path; give that of a picture")
    if re.match(r"(https?|ftp|file|data):", path):
        raise VqadError("a URL, which is not fetched; download it and give the file")
    if is_remote(path):
        try:
            data = epath.Path(path).read_bytes()
        except Exception:
            check_reachable(path)
            raise
        yield io.BytesIO(data), page
        return
    if os.path.isdir(path):
        raise VqadError("a folder, not a picture; give the pictures in it")
    if os.path.exists(path) and not os.path.isfile(path):
        raise VqadError("a pipe or a device, not a file; remove it")
    with open(Path(path), "rb") as file:
        yield file, page


class Pixels(NamedTuple):
    """Upright: Pillow's image of at most 8 bits a channel, or numbers; and what is said of them."""

    kept: Image.Image | Numbers
    notes: list[Note]
    reduced: bool = False  # whether the image is what Pillow keeps of 16 bits


def read_pixels(picture: Picture, whole: bool = False) -> Pixels:
    """Reads a picture of any kind; what it raises may be of any kind too, see ``explained``.

    Args:
      picture: A path, an open file or its bytes, Pillow's image (its current page) or an array.
      whole: Whether all bits of colours of more than 8 are wanted, in place of the 8 of Pillow's.
    """
    if isinstance(picture, Image.Image):
        count = getattr(picture, "n_frames", 1)
        notes = [("pages", f"page {picture.tell()} of {count}")] if count > 1 else []
        if isinstance(picture, TiffImageFile) and picture.tile and picture.fp:
            # Not read yet. Pillow mixes up rows of turned ones, and planes of 16 bits.
            picture.fp.seek(0)
            with tiff.pages(picture.fp) as pages:
                if own := next((p for p in pages if p.number == picture.tell()), None):
                    return Pixels(_of_page(picture.fp, own), notes)
        reduced, tags = is_reduced(picture), getattr(picture, "tag_v2", {})
        if whole and (reduced or (picture.format, picture.mode[0]) == ("JPEG2000", "I")):
            raise VqadError("Pillow changes its numbers of more than 8 bits; give its path")
        return Pixels(_of_pillow(ImageOps.exif_transpose(picture), tags), notes, reduced)
    if hasattr(picture, "read") and not isinstance(picture, os.PathLike):
        picture = picture.read()
    if isinstance(picture, bytes | bytearray | str | os.PathLike):
        with opened(bytes(picture) if isinstance(picture, bytearray) else picture) as (file, page):
            return _of_tiff(file, page) if tiff.is_tiff(file) else _of_file(file, page, whole)
    return Pixels(of_array(picture), [])


def choose(count: int, page: int | None) -> int:
    """The number of the page that is wanted of so many; a VqadError if that is not clear."""
    if page is None and count > 1:
        raise VqadError(
            f"has {count} pages; save each as a picture of its own, or give one by its number, as "
            "[0] behind the path for the first"
        )
    if (page or 0) >= count:
        raise VqadError(f"no page [{page}] in it; it has {count}, from [0] on")
    return page or 0


def open_page(file: BinaryIO, page: int | None) -> tuple[Image.Image, list[Note]]:
    """Opens a file with Pillow, at the page that is wanted."""
    picture = Image.open(file, formats=FORMATS)
    count, others = _frames(picture)
    if number := choose(count, page):
        picture.seek(number)
    return picture, [("pages", f"the first of its {others + 1} pictures")] if others else []


def count_pages(path: str) -> int:
    """How many pictures a file holds; 1 where it cannot be read."""
    with suppress(Exception), opened(path) as (file, _):
        if not tiff.is_tiff(file):
            return _frames(Image.open(file, formats=FORMATS))[0]
        with tiff.pages(file) as pages:
            return len(pages)
    return 1


def is_reduced(picture: Image.Image) -> bool:
    """Whether Pillow, which has opened but not read it, keeps 8 of 16 bits."""
    stored = f"{[tile.args for tile in getattr(picture, 'tile', ())]}"
    return ";16" in stored and picture.mode[0] not in "IF"


def _frames(picture: Image.Image) -> tuple[int, int]:
    """How many pages there are, and how many previews and depths of the first, of MPO."""
    count = getattr(picture, "n_frames", 1)
    return (1, count - 1) if picture.format == "MPO" else (count, 0)


def _of_file(file: BinaryIO, page: int | None, whole: bool) -> Pixels:
    picture, notes = open_page(file, page)
    reduced = is_reduced(picture)
    if whole and (picture.format == "JPEG2000" or reduced):
        file.seek(0)
        values = _WHOLE[picture.format](file.read())
        if values.dtype.itemsize > 1:
            values = np.atleast_3d(values)
            colours = 1 if values.shape[2] < 3 else 3
            found = Numbers.of(values, colours, most_of(values.dtype, 16))
            return Pixels(found.turned(picture.getexif().get(EXIF_ORIENTATION, 1)), notes)
    ImageOps.exif_transpose(picture, in_place=True)  # no copy where nothing is to be turned
    return Pixels(_of_pillow(picture, {}), notes, reduced)


def _of_tiff(file: BinaryIO, page: int | None) -> Pixels:
    with tiff.pages(file) as pages:
        return Pixels(_of_page(file, pages[choose(len(pages), page)]), [])


def _of_page(file: BinaryIO, page: tiff.Page) -> Image.Image | Numbers:
    if page.is_8_bit:
        with suppress(Exception):  # what Pillow cannot read, as WebP in TIFF
            picture = Image.open(file, formats=("TIFF",))
            picture.seek(page.number)
            ImageOps.exif_transpose(picture, in_place=True)
            return _of_pillow(picture, {})
    return tiff.read_numbers(page)


def _of_pillow(picture: Image.Image, tags: dict) -> Image.Image | Numbers:
    """An image as it is or, of more than 8 bits, its numbers; ``tags`` are of its TIFF file."""
    if picture.mode != "F" and not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture)
    bits = 16 if picture.mode.startswith("I;16") else 32
    if bits == 16:
        bits = tags.get(tiff.BITS, (16,))[0]
    negative = tags.get(tiff.PHOTOMETRIC) == tiff.WHITE_IS_ZERO
    return Numbers(values, most_of(values.dtype, bits), negative=negative)
