"""The one error type that vqad raises for bad input, and what messages are made of."""

import contextlib
import os
import re
from collections.abc import Iterator

EXIT_CODE = 75
"""Of a run that was asked to stop: EX_TEMPFAIL, "try again" for what started it."""


class VqadError(ValueError):
    """Bad input from the user: a file, a folder, a setting or a checkpoint.

    The message is one line that names the file or setting, says what is wrong with it and what to
    do. The launcher and the command line print it as ``error: <message>`` and exit with code 2.
    """


def printable(text: str) -> str:
    """Text with its control characters escaped: one line, whatever names of files are in it."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: repr(match[0])[1:-1], text)


def reason(error: BaseException) -> str:
    """What an exception of a library or of the system says, in one short line."""
    told = getattr(error, "strerror", None) or " ".join(str(error).split())
    return told[:300] or type(error).__name__


@contextlib.contextmanager
def explained(
    path: str | os.PathLike,
    fault: str,
    remedy: str,
    kinds: type[Exception] | tuple[type[Exception], ...] = Exception,
) -> Iterator[None]:
    """Turns what libraries and the system raise at a file into a VqadError: path, fault, remedy."""
    try:
        yield
    except kinds as error:
        raise VqadError(f"{os.fspath(path)}: {fault} ({reason(error)}); {remedy}") from error
