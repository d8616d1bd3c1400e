"""What the library logs, shown."""

import contextlib
import logging
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def shown(stream: TextIO | None, told: str, level: int = logging.INFO) -> Iterator[None]:
    """Shows what vqad logs, formatted as ``told`` says, and only errors of what uses absl."""
    logger, absl = logging.getLogger("vqad"), logging.getLogger("absl")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(told, "%H:%M:%S"))
    before = logger.level, logger.propagate, absl.level
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    absl.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        absl.setLevel(before[2])
