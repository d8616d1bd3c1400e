"""A workdir is for one run at a time."""

import fcntl
from typing import TextIO

from etils import epath

from vqad.errors import VqadError
from vqad.paths import is_remote

_LOCK = ".lock"


class Claim:
    """A lock on a folder; it ends with the process, however that ends.

    A bucket has no such lock, and nothing is claimed there.
    """

    def __init__(self, folder: epath.Path) -> None:
        """Claims nothing yet."""
        self._folder = folder
        self._file: TextIO | None = None

    def take(self) -> None:
        """Locks the folder, which must be there, if that was not done yet.

        Raises:
          VqadError: another run has it.
        """
        if self._file or is_remote(self._folder):
            return
        self._file = open(self._folder / _LOCK, "a")  # noqa: SIM115
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise VqadError(
                f"--workdir={self._folder}: another run trains there; wait until it ends, or give "
                "another folder"
            ) from error

    def close(self) -> None:
        """Gives the folder free."""
        if self._file:
            self._file.close()
