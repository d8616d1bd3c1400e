"""What the library logs, shown."""

import contextlib
import logging
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def shown(stream: TextIO | None, told: str, level: int = logging.INFO) -> Iterator[None]:
    """Shows what vqad logs, formatted as ``told`` says; what stops others, they raise as well."""
    logger, absl = logging.getLogger("vqad"), logging.getLogger("absl")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(told, "%H:%M:%S"))
    before = logger.level, logger.propagate, absl.level
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    absl.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        absl.setLevel(before[2])
