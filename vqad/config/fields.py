"""A field of a configuration: its default, and what may stand in it, said once."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from vqad.errors import VqadError

MOST = 2**31 - 1
WIDEST = 2**16  # of layers, batches and images: what is larger fits no memory

_KINDS = {
    bool: (bool, "True or False"),
    int: (int, "a whole number"),
    float: (int | float, "a number"),
    str: (str, "text"),
    tuple: (tuple | list, "several values"),
}


class Field(NamedTuple):
    """A field; values are of its default's kind, and such that ``allows`` is true of them."""

    default: Any
    allows: Callable[[Any], bool] = lambda value: True
    what: str = ""  # what is said of others

    def __call__(self, name: str, value: Any) -> None:
        """Refuses a value, with a VqadError that calls the field by a name."""
        check_kind(name, value, self.default)
        if not self.allows(value):
            raise VqadError(f"{name}: {value!r}; {self.what}")


def check_kind(name: str, value: Any, default: Any) -> None:
    """Refuses what is of another kind than the default; a whole number may be a fraction."""
    kind, what = _KINDS[type(default)]
    if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, kind):
        raise VqadError(f"{name}: {value!r}; must be {what}, as {default!r}")
    for each in value if isinstance(default, tuple) and default else ():
        check_kind(name, each, default[0])


def whole(default: int, low: int = 0, high: int = MOST) -> Field:
    """A whole number between ``low`` and ``high``."""
    most = "" if high == MOST else f" and at most {high}"
    what = f"must be a whole number of at least {low}{most}"
    return Field(default, lambda value: low <= value <= high, what)


def number(default: float, low: float = 0.0, high: float = math.inf) -> Field:
    """A finite number between ``low`` and ``high``."""
    what = f"must be between {low:g} and {high:g}"
    return Field(default, lambda value: low <= value <= high and value < math.inf, what)


def share(default: float, high: float = 1.0) -> Field:
    """A number between 0 and ``high``."""
    return number(default, 0.0, high)


def positive(default: float) -> Field:
    """A finite number above 0."""
    return Field(default, lambda value: 0 < value < math.inf, "must be above 0")


def choice(default: str, *others: str) -> Field:
    """One of several words."""
    allowed = (default, *others)
    return Field(default, lambda value: value in allowed, f"give one of {', '.join(allowed)}")


def is_value_range(value: Any) -> bool:
    """Whether these are the numbers of black and white: finite ones, the first below the second."""
    numbers = len(value) == 2 and all(type(each) in (int, float) for each in value)
    return numbers and -math.inf < value[0] < value[1] < math.inf


def power_of_two(default: int) -> Field:
    """A power of two up to the default."""
    what = f"must be a power of two up to {default}, at least 1"
    return Field(default, lambda value: value > 0 and default % value == 0, what)


def odd(default: int) -> Field:
    """An odd number above 0."""
    what = f"must be odd, between 1 and {WIDEST}"
    return Field(default, lambda value: 0 < value <= WIDEST and value % 2 == 1, what)
