"""TensorBoard's event files, in a folder of this machine or in a bucket.

An error of a disk or a network is told of, and the run goes on: it would end tensorboardX's thread
that writes, for which the run would wait for ever.
"""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace

from etils import epath

from vqad.errors import reason
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


class _EventFile:
    """An event file, which each flush brings up to date: an object in a bucket is written anew."""

    def __init__(self, path: str) -> None:
        self._path = epath.Path(path.removeprefix("disk:"))
        self._written, self._content = 0, io.BytesIO()
        self._failing = False

    def write(self, data: bytes) -> None:
        self._content.write(data)

    def flush(self) -> None:
        content = self._content.getvalue()
        try:
            if is_remote(self._path):
                self._path.write_bytes(content)
            else:
                with open(self._path, "ab") as file:
                    file.truncate(self._written)  # without the part of a flush that failed
                    file.write(content)
                self._written, self._content = self._written + len(content), io.BytesIO()
            self._failing = False
        except Exception as error:  # of disks, networks and credentials
            if not self._failing:  # each flush would say so
                logger.warning(
                    "warning: %s: not written now, but later (%s)", self._path, reason(error)
                )
            self._failing = True

    def close(self) -> None:
        self.flush()


def _make_folder(path: str) -> None:
    if path.startswith("disk:"):  # a bucket needs none
        epath.Path(path.removeprefix("disk:")).mkdir(parents=True, exist_ok=True)


# tensorboardX chooses by what a path begins with.
for _prefix in ("disk", "gs"):
    register_writer_factory(_prefix, SimpleNamespace(open=_EventFile, directory_check=_make_folder))


def open_writer(folder: epath.Path, first_step: int) -> SummaryWriter:
    """A writer of event files in a folder, which hides what earlier ones have from a step on."""
    path = str(folder) if is_remote(folder) else f"disk:{folder}"
    return SummaryWriter(path, purge_step=first_step)
