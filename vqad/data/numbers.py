"""Arrays, and what files hold of more than 8 bits, as 8-bit grey or RGB.

What black and white are is never taken from a picture's own values: the same part would look
otherwise beside a brighter one. The file or the kind of array tells it, or ``value_range``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vqad.errors import VqadError, reason

ValueRange = tuple[float, float]
"""The numbers of black and white, as 0 and 4095 of a sensor of 12 bits."""
Note = tuple[Any, ...]
"""What is left out or changed: a check of `vqad.data.findings`, and what its words are about."""

LITTLE = 64  # largest value, of 255, of a picture that uses little of its range
ADVICE = "give value_range (--value-range), as (0, 255), or (0, 4095) for a sensor of 12 bits"

_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda values: np.rot90(values, 2),
    4: np.flipud,
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: np.rot90(values, -1),
    7: lambda values: np.rot90(values, 2).swapaxes(0, 1),
    8: np.rot90,
}


class Numbers(NamedTuple):
    """A picture whose values are not yet from 0, black, to 255, white."""

    values: np.ndarray  # [h, w], or [h, w, 3] of RGB, or [h, w, 4] of CMYK
    most: float | None  # the number of white; None where nothing tells
    alpha: np.ndarray | None = None  # [h, w]
    negative: bool = False  # whether 0 is white, and `most` black

    @classmethod
    def of(cls, channels: np.ndarray, colours: int, most: float | None) -> "Numbers":
        """Of channels [h, w, c], the first of which are colours, and one more is alpha."""
        alpha = channels[..., colours] if channels.shape[-1] > colours else None
        return cls(channels[..., :colours] if colours > 1 else channels[..., 0], most, alpha)

    def turned(self, orientation: int) -> "Numbers":
        """Upright, by the orientation 1 to 8 of EXIF and TIFF."""
        turn = _TURNS.get(orientation, np.asarray)
        alpha = None if self.alpha is None else turn(self.alpha)
        return self._replace(values=turn(self.values), alpha=alpha)


def of_array(given: Any) -> Numbers:
    """What an array says: [h, w], [h, w, 1], RGB [h, w, 3] or RGBA [h, w, 4], of NumPy or another.

    White is 255 in uint8, 65535 in uint16, 1 in floats and bool. A VqadError for anything else.
    """
    wanted = "give a path, the bytes of a file, Pillow's image or an array [height, width, 3]"
    kind = type(given).__name__
    try:
        values = np.asarray(given)
    except Exception as error:  # of a ragged list, of a tensor on another device
        raise VqadError(f"{kind} that becomes no array ({reason(error)}); {wanted}") from error
    if values.dtype.name == "bfloat16":
        values = values.astype(np.float32)
    if values.dtype.kind not in "buif" or not values.ndim:
        what = "None" if given is None else f"{kind} of {values.dtype}" if values.ndim else kind
        raise VqadError(f"{what}; {wanted}")
    shape = values.shape
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or not values.size:
        advice = "give [height, width] or [height, width, 1, 3 or 4]"
        if values.ndim == 3 and shape[0] in (1, 3, 4):
            advice = "move the channels last: np.moveaxis(image, 0, -1)"
        elif values.ndim == 3:
            advice += ", several greys as a list"
        raise VqadError(f"an array of shape {shape}; {advice}")
    most = most_of(values.dtype, 8 * values.dtype.itemsize)
    return Numbers.of(values, min(values.shape[2], 3), most)


def most_of(dtype: np.dtype, bits: int) -> float | None:
    """What white is where an array or a file tells nothing else; None of what has no use of it."""
    if dtype.kind == "u" and bits <= 16:
        return 2**bits - 1
    return {"b": 1, "f": 1.0}.get(dtype.kind)


def eight_bits(found: Numbers, value_range: ValueRange | None) -> tuple[np.ndarray, list[Note]]:
    """Values as uint8 of the same shape, 0 black, and what is to be said of them.

    Of at most 8 bits they are as the file says, whatever ``value_range`` is. Others are taken by it
    or, without it, as the file or the kind of array says: greys rounded, of colours the high byte,
    as Pillow does. A VqadError where nothing tells what white is, or values are beyond it.
    """
    values, most = found.values, found.most
    notes: list[Note] = []
    if values.dtype.kind in "bu" and most is not None and most <= 255:
        made = values if values.dtype == np.uint8 and most == 255 else _rounded(values, most)
    else:
        low, high = float(values.min()), float(values.max())
        if not np.isfinite((low, high)).all():
            raise VqadError("holds what is no number (NaN) or infinite; put a number there")
        if value_range is not None:
            told = f"value_range {value_range[0]:g} to {value_range[1]:g}"
            if low < value_range[0] or high > value_range[1]:
                notes.append(("clipped", f"{low:g} to {high:g}", told))
            made = _scaled(values, value_range)
        elif most is None:
            what = f"{values.dtype} values, of which nothing tells what is white"
            raise VqadError(f"{what}; {ADVICE}")
        elif values.dtype.kind == "f":
            if not -0.5 / 255 <= low <= high <= 1 + 0.5 / 255:
                raise VqadError(f"floats outside [0, 1], from {low:g} to {high:g}; {ADVICE}")
            told, made = "[0, 1]", _scaled(values, (0.0, 1.0))
        else:
            told = f"its {int(most).bit_length()} bits"
            made = _rounded(values, most) if values.ndim == 2 else _high_bytes(values, most)
        if made.max() <= LITTLE:
            notes.append(("dark", told))
    return ~made if found.negative else made, notes


def _scaled(values: np.ndarray, value_range: ValueRange) -> np.ndarray:
    black, white = value_range
    kind = np.float64 if values.dtype.itemsize > 4 or values.dtype.kind in "iu" else np.float32
    scaled = np.subtract(values, black, dtype=kind)
    scaled *= 255 / (white - black)
    return np.round(np.clip(scaled, 0, 255, out=scaled), out=scaled).astype(np.uint8)


def _rounded(values: np.ndarray, most: float) -> np.ndarray:
    values = values.astype(np.uint32)
    values *= 510  # in place: of a large picture each copy counts
    values += int(most)
    values //= 2 * int(most)
    return values.astype(np.uint8)


def _high_bytes(values: np.ndarray, most: float) -> np.ndarray:
    return (values >> (int(most).bit_length() - 8)).astype(np.uint8)
