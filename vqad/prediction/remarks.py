"""What is said of pictures that are changed, or in part left out, before a model sees them."""

import logging
from collections import Counter
from collections.abc import Iterable

from vqad.data.findings import CHECKS, Finding
from vqad.data.numbers import Note
from vqad.errors import printable

logger = logging.getLogger(__name__)

SHRUNK = 8
"""How many times a side may become shorter, unsaid: what is as many pixels wide is lost then."""
SQUEEZED = 4
"""How many times more than the other."""


class Remarks:
    """Tells of each kind the first time, and counts the others."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, notes: Iterable[Note]) -> None:
        """Tells what is new of a picture."""
        for check, *about in notes:
            if not self._counts[check]:
                message = printable(Finding.of(check, name, *about).message)
                does = CHECKS[check].training
                logger.warning("warning: %s: %s; %s", check, message, does)
            self._counts[check] += 1

    def __str__(self) -> str:
        return ", ".join(f"{check}: {count}" for check, count in self._counts.items())


def resizing(size: tuple[int, int], model: tuple[int, int], overlap: int | None) -> list[Note]:
    """What is to be said of a picture's resizing to a model's size; of tiles, nothing."""
    lower, narrower = (own / side for own, side in zip(size, model, strict=True))
    most = max(lower, narrower)
    if overlap is not None or (most <= SHRUNK and most / min(lower, narrower) <= SQUEEZED):
        return []
    return [("squeezed", *size[::-1], *model[::-1])]
