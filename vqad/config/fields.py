"""A field of a configuration: its default, and what may stand in it, said once."""

import dataclasses
from collections.abc import Callable
from typing import Any

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


@dataclasses.dataclass(frozen=True)
class Field:
    """A field.

    Attributes:
      default: its value unless another is given; values must be of its kind.
      check: (name, value), raises ``VqadError`` where the value may not stand.
    """

    default: Any
    check: Callable[[str, Any], None] = lambda name, value: None

    def __call__(self, name: str, value: Any) -> None:
        """Refuses a value of another kind than the default's, or that ``check`` refuses."""
        check_kind(name, value, self.default)
        self.check(name, value)


def check_kind(name: str, value: Any, default: Any) -> None:
    """Refuses what is of another kind than the default; a whole number may be a fraction."""
    kind, what = _KINDS[type(default)]
    if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, kind):
        raise VqadError(f"{name}: {value!r}; must be {what}, as {default!r}")
    for each in value if isinstance(default, tuple) else ():
        check_kind(name, each, default[0] if default else "")


def whole(default: int, low: int = 0, high: int = MOST) -> Field:
    """A whole number between ``low`` and ``high``."""

    def check(name: str, value: int) -> None:
        if not low <= value <= high:
            what = f"at least {low}" if value < low else f"at most {high}"
            raise VqadError(f"{name}: {value!r}; must be a whole number of {what}")

    return Field(default, check)


def number(default: float, low: float = 0.0, high: float = float("inf")) -> Field:
    """A finite number between ``low`` and ``high``."""

    def check(name: str, value: float) -> None:
        if not low <= value <= high or value == float("inf"):
            raise VqadError(f"{name}: {value!r}; must be between {low:g} and {high:g}")

    return Field(default, check)


def share(default: float, high: float = 1.0) -> Field:
    """A number between 0 and ``high``."""
    return number(default, 0.0, high)


def positive(default: float) -> Field:
    """A finite number above 0."""

    def check(name: str, value: float) -> None:
        if not 0 < value < float("inf"):
            raise VqadError(f"{name}: {value}; must be above 0")

    return Field(default, check)


def choice(default: str, *others: str) -> Field:
    """One of several words."""
    allowed = (default, *others)

    def check(name: str, value: str) -> None:
        if value not in allowed:
            raise VqadError(f"{name}: {value!r}; give one of {', '.join(allowed)}")

    return Field(default, check)


def power_of_two(default: int) -> Field:
    """A power of two up to the default."""

    def check(name: str, value: int) -> None:
        whole(default, 1).check(name, value)
        if default % value:
            raise VqadError(f"{name}: {value}; give a power of two up to {default}")

    return Field(default, check)


def odd(default: int) -> Field:
    """An odd number above 0."""

    def check(name: str, value: int) -> None:
        whole(default, 1, WIDEST).check(name, value)
        if value % 2 == 0:
            raise VqadError(f"{name}: {value}; must be odd")

    return Field(default, check)
