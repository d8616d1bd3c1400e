"""What the library logs, shown."""

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO


@contextlib.contextmanager
def shown(stream: TextIO | None, told: str, level: int = logging.INFO) -> Iterator[None]:
    """Shows what vqad logs, formatted as ``told`` says; what stops others, they raise as well."""
    logger = logging.getLogger("vqad")
    others = [logging.getLogger(name) for name in ("absl", "tifffile")]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(told, "%H:%M:%S"))
    before, levels = (logger.level, logger.propagate), [other.level for other in others]
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    for other in others:
        other.setLevel(logging.CRITICAL)
    undo = hush_threads(verbose=level == logging.DEBUG)
    try:
        yield
    finally:
        undo()
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        for other, level in zip(others, levels, strict=True):
            other.setLevel(level)


def hush_threads(verbose: bool) -> Callable[[], None]:
    """Leaves to the log of ``--verbose`` what threads of libraries raise and log.

    They run on after an error that is told in one line, as Orbax's where the disk is full; that
    error is raised in the main thread too. Returns what undoes it.
    """
    if threading.excepthook is not threading.__excepthook__:
        return lambda: None  # somebody else looks after them, as pytest does
    before = sys.excepthook, sys.unraisablehook

    def told(error: BaseException | None) -> None:
        logging.getLogger(__name__).debug("in a thread: %r", error)

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            before[0](kind, error, trace)
        else:  # C++ libraries report here what Python raises in a thread of theirs
            told(error)

    def disable(libraries: bool) -> None:
        for name in ("absl", "asyncio"):
            logging.getLogger(name).disabled = libraries

    def undo() -> None:
        disable(False)
        sys.excepthook, sys.unraisablehook = before
        threading.excepthook = threading.__excepthook__

    # Where the disk is full; what is compiled serves all the same.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
    # What is too large to be trusted is refused.
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")
    disable(not verbose)
    sys.excepthook = hook
    sys.unraisablehook = lambda found: told(found.exc_value)
    threading.excepthook = lambda found: told(found.exc_value)
    return undo
