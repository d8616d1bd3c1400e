"""A workdir is for one run at a time."""

import errno
import fcntl
import logging
from typing import TextIO

from etils import epath

from vqad.errors import VqadError
from vqad.paths import is_remote

logger = logging.getLogger(__name__)

_LOCK = ".lock"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class Claim:
    """A lock on a folder; it ends with the process, however that ends.

    A bucket has no such lock, and nothing is claimed there; nor where a file system has none.
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
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning(
                "warning: --workdir=%s: its file system has no locks (%s); a second run there is "
                "not noticed",
                self._folder,
                error.strerror,
            )

    def close(self) -> None:
        """Gives the folder free."""
        if self._file:
            self._file.close()
