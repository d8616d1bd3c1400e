"""TIFF of any depth, as its tags say: pages, photometric interpretation, orientation."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import tifffile
from PIL import Image

from vqad.data.numbers import Numbers, most_of
from vqad.errors import VqadError

PHOTOMETRIC, BITS, ORIENTATION = 262, 258, 274  # tags; orientation has the number of EXIF's
WHITE_IS_ZERO = 0

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two of BigTIFF
_COLOURS = {"MINISWHITE": 1, "MINISBLACK": 1, "RGB": 3, "SEPARATED": 4}
_MODES = {"MINISWHITE": "L", "MINISBLACK": "L", "SEPARATED": "CMYK", "PALETTE": "P"}
_NO_PICTURE = 0b101  # subfile types: a smaller copy, a transparency mask

# It logs what is odd in a file; what matters is raised.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class Page(NamedTuple):
    """A page of a file, and its number among all there are, thumbnails too."""

    tags: Any  # tifffile.TiffPage
    number: int

    @property
    def bits(self) -> int:
        """Bits of a channel."""
        return self.tags.bitspersample

    @property
    def is_8_bit(self) -> bool:
        """Whether its numbers are unsigned, of at most 8 bits."""
        return self.bits <= 8 and self.tags.sampleformat == tifffile.SAMPLEFORMAT.UINT

    @property
    def orientation(self) -> int:
        """Of EXIF, from 1, as it lies, to 8."""
        return self.tags.tags.valueof(ORIENTATION, 1)

    @property
    def kind(self) -> str:
        """What its numbers mean, as MINISBLACK."""
        return getattr(self.tags.photometric, "name", str(self.tags.photometric))

    @property
    def header(self) -> tuple[int, int, str, int, int]:
        """Height and width upright, Pillow's mode, bits of a channel, orientation."""
        size = self.tags.imagelength, self.tags.imagewidth
        height, width = size[::-1] if self.orientation in (5, 6, 7, 8) else size
        mode = "1" if self.bits == 1 else _MODES.get(self.kind, self.kind)
        return height, width, mode, self.bits, self.orientation


def is_tiff(file: BinaryIO) -> bool:
    """Whether a file is TIFF, by its first bytes; it is left at its start."""
    start = file.read(4)
    file.seek(0)
    return start in _STARTS


@contextmanager
def pages(file: BinaryIO) -> Iterator[list[Page]]:
    """The pictures of a file, without thumbnails and masks of transparency.

    Raises:
      Exception: of any kind. A VqadError for a list of pages that is cut off, a stack that is kept
        as one page, and what is too large.
    """
    with tifffile.TiffFile(file) as tiff:
        found, places = [], set()
        for number, page in enumerate(tiff.pages):
            if page.offset in places:
                raise VqadError("damaged: its list of pages is a circle; replace it")
            places.add(page.offset)
            found.append(Page(page, number))
        handle, how = tiff.filehandle, tiff.tiff
        handle.seek(tiff.pages.next_page_offset)
        if any(handle.read(how.offsetsize)):
            raise VqadError("damaged or incomplete: its list of pages is cut off; replace it")
        if tiff.is_imagej and len(found) < (tiff.imagej_metadata or {}).get("images", 1):
            raise VqadError("a stack of ImageJ's in one page; save its pictures one by one")
        if not found:
            raise VqadError("damaged or incomplete: no picture in it; replace it")
        kept = [page for page in found if not page.tags.subfiletype & _NO_PICTURE] or found[:1]
        most = Image.MAX_IMAGE_PIXELS
        for page in kept:
            pixels = page.tags.imagewidth * page.tags.imagelength * page.tags.imagedepth
            if not pixels:
                raise VqadError("damaged or incomplete: a page without pixels; replace it")
            if most and pixels > 2 * most:
                raise Image.DecompressionBombError(f"{pixels} pixels, {2 * most} are the limit")
        yield kept


def read_numbers(page: Page) -> Numbers:
    """The numbers of a page, turned upright, whatever its depth and compression."""
    tags, kind = page.tags, page.kind
    colours, samples = _COLOURS.get(kind, 0), tags.samplesperpixel
    known = tags.dtype is not None and tags.dtype.kind in "buif" and tags.imagedepth == 1
    if not known or samples - colours not in (0, 1) or not colours:
        what = getattr(tags.sampleformat, "name", tags.sampleformat)
        raise VqadError(
            f"{samples} channels of {kind}, {what} of {page.bits} bits, depth {tags.imagedepth}; "
            "save it as grey or RGB"
        )
    parts = math.prod(tags.chunked)
    if len(tags.dataoffsets) < parts or not all(tags.databytecounts[:parts]):
        raise VqadError("damaged or incomplete: parts of it are missing; replace it")  # or be black
    values = tags.asarray(maxworkers=1)
    if tags.planarconfig == tifffile.PLANARCONFIG.SEPARATE and samples > 1:
        values = values.transpose(1, 2, 0)
    values = values.reshape(tags.imagelength, tags.imagewidth, samples)
    found = Numbers.of(values, colours, most_of(values.dtype, page.bits))
    return found._replace(negative=tags.photometric == WHITE_IS_ZERO).turned(page.orientation)
