"""A workdir is for one run at a time."""

import errno
import logging

from etils import epath
from filelock import FileLock, Timeout

from vqad.errors import VqadError
from vqad.paths import is_remote

logger = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)


class WorkdirLock:
    """A lock on a folder; it ends with the process, however that ends.

    A bucket has no such lock, and nothing is locked there; nor where a file system has none.
    """

    def __init__(self, folder: epath.Path) -> None:
        self._folder = folder
        self._lock: FileLock | None = None

    def take(self) -> None:
        """Locks the folder, which must be there; a VqadError if another run has it."""
        if self._lock or is_remote(self._folder):
            return
        self._lock = FileLock(self._folder / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
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

    def release(self) -> None:
        """Gives the folder free."""
        if self._lock:
            self._lock.release()
