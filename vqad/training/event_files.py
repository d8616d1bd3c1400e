"""TensorBoard's event files, in a folder of this machine or in a bucket.

An error of a disk or a network would end the thread of tensorboardX that writes, and the run would
wait for it for ever. It is told of, and the run goes on.
"""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace

from etils import epath

from vqad.paths import is_remote


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Hides PyTorch: tensorboardX imports it, which takes 2 s, and nothing here uses it."""
    hidden = sys.modules.setdefault("torch", None) is None
    try:
        yield
    finally:
        if hidden:
            del sys.modules["torch"]


with _without_torch():
    from tensorboardX import SummaryWriter
    from tensorboardX.record_writer import register_writer_factory

logger = logging.getLogger(__name__)


class _File:
    """An event file on a disk, which ends before the first part that could not be written."""

    def __init__(self, path: str) -> None:
        self._path = _without_prefix(path)
        self._file = open(self._path, "wb", buffering=0)  # noqa: SIM115  closed by close
        self._whole = True

    def write(self, data: bytes) -> None:
        if not self._whole:
            return
        try:
            self._whole = self._file.write(data) == len(data)
            reason = "no space left"
        except OSError as error:
            self._whole, reason = False, error.strerror
        if not self._whole:
            logger.warning("warning: %s: no more is written to it (%s)", self._path, reason)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        self._file.close()


class _Object:
    """An event file in a bucket, where nothing can be appended: each flush writes it anew."""

    def __init__(self, path: str) -> None:
        self._path = epath.Path(path)
        self._content = io.BytesIO()

    def write(self, data: bytes) -> None:
        self._content.write(data)

    def flush(self) -> None:
        try:
            self._path.write_bytes(self._content.getvalue())
        except Exception as error:  # of networks and credentials
            logger.warning("warning: %s: not written now, but later (%s)", self._path, error)

    def close(self) -> None:
        self.flush()


def _without_prefix(path: str) -> str:
    return path.removeprefix("disk:")


def _make_folder(path: str) -> None:
    if not is_remote(path):  # a bucket needs none
        epath.Path(_without_prefix(path)).mkdir(parents=True, exist_ok=True)


# tensorboardX chooses by what a path begins with.
register_writer_factory("disk", SimpleNamespace(open=_File, directory_check=_make_folder))
register_writer_factory("gs", SimpleNamespace(open=_Object, directory_check=_make_folder))


def open_writer(folder: epath.Path, first_step: int) -> SummaryWriter:
    """A writer of event files in a folder, which hides what earlier ones have from a step on."""
    path = str(folder) if is_remote(folder) else f"disk:{folder}"
    return SummaryWriter(path, purge_step=first_step)
