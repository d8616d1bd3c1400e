"""The one error type that vqad raises for bad input, and what messages are made of."""

import contextlib
import errno
import os
import re
import sys
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


_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_NO_MEMORY = re.compile(
    "(?i)RESOURCE_EXHAUSTED|out of memory|bad_alloc|cannot allocate memory|start new thread"
)


def reason(error: BaseException) -> str:
    """What an exception of a library or of the system says, in one short line."""
    told = getattr(error, "strerror", None) or " ".join(str(error).split())
    # Libraries write a page around what the system said.
    told = next((full for full in _FULL if full in told), told)
    return told[:300] or type(error).__name__


def machine_fault(error: BaseException) -> VqadError | None:
    """What of the machine an exception comes from, and no input is to blame for; None if nothing.

    That is a full disk, too little memory, of the host or of a device, or a device that JAX lacks.
    """
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for cause in causes:
        if any(full in str(cause) for full in _FULL):
            return VqadError(f"{reason(cause)}; free disk space and run the same command again")
    for cause in causes:
        if isinstance(cause, MemoryError) or _NO_MEMORY.search(str(cause)):
            return OutOfMemory(
                f"out of memory ({reason(cause)}); free some, or ask for less at once"
            )
    return _lacking_device()


class OutOfMemory(VqadError):
    """The host or a device has too little memory."""


@contextlib.contextmanager
def less_memory(remedy: str) -> Iterator[None]:
    """Says what to lower where something in it needs more memory than there is.

    Raises OutOfMemory.
    """
    try:
        yield
    except Exception as error:
        fault = machine_fault(error)
        if not isinstance(fault, OutOfMemory):
            raise
        raise OutOfMemory(f"{str(fault).partition(';')[0]}; {remedy}") from error


def _lacking_device() -> VqadError | None:
    """Whether JAX, if anything has asked it, has none of the devices that it was told to use."""
    if "jax" not in sys.modules:
        return None
    try:
        sys.modules["jax"].local_devices()
    except Exception as error:  # an assertion, where a plugin is not installed
        wanted, why = (
            os.environ.get("JAX_PLATFORMS", ""),
            f" ({reason(error)})" if str(error) else "",
        )
        return VqadError(
            f"JAX_PLATFORMS={wanted}: JAX has no such device{why}; unset it, or "
            "install JAX for that device"
        )
    return None


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
