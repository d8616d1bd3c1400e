"""Watches a reader of something hostile: what it raises, writes, runs and unpickles."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from vqad.errors import VqadError

LONGEST = 30  # seconds
_RUNS = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Misdeed(Exception):
    """A reader did something that it must not do."""


class _Watch:
    """An audit hook, which cannot be removed, so there is one for the process."""

    def __init__(self):
        self.inside = None
        self.seen = []
        self._hooked = False

    def start(self, folder):
        if not self._hooked:
            sys.addaudithook(self._hook)
            self._hooked = True
        self.seen = []
        self.inside = os.path.realpath(folder)

    def _hook(self, event, args):
        if self.inside is None:
            return
        if event in _RUNS:
            self.seen.append(f"{event} {args[:2]}")
        elif event in _CHANGES or (event == "open" and (args[2] or 0) & _WRITES):
            for path in args[:2] if event == "os.rename" else args[:1]:
                if isinstance(path, str | bytes | os.PathLike) and not self._allowed(path, event):
                    self.seen.append(f"{event} {os.fsdecode(path)}")

    def _allowed(self, path, event):
        folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))
        # A link that is renamed or removed is not followed.
        path = os.path.join(os.path.realpath(folder), name)
        path = os.path.realpath(path) if event == "open" else path
        return (
            path == os.devnull
            or "__pycache__" in path
            or os.path.commonpath((self.inside, path)) == self.inside
        )


_watch = _Watch()


def _too_long(number, frame):
    # Noted, too: the reader may take what is raised for damage, and turn it into VqadError.
    _watch.seen.append(f"take more than {LONGEST} s")
    raise Misdeed(f"took more than {LONGEST} s")


@contextlib.contextmanager
def watched(lay):
    """Gives a folder to work in, where `lay` has put what is read.

    VqadError may be raised meanwhile; anything else goes on, and Misdeed tells what was done wrong.
    """
    base = Path(tempfile.mkdtemp(prefix="vqad-hostile-"))
    outside, work = base / "outside", base / "work"
    outside.mkdir()
    work.mkdir()
    (outside / "file").write_bytes(b"untouched")
    before, here = signal.signal(signal.SIGALRM, _too_long), os.getcwd()
    tempfile.tempdir = str(work)
    try:
        os.chdir(work)
        lay(work)
        _watch.start(work)
        signal.alarm(LONGEST)
        with contextlib.suppress(VqadError):
            yield work
        signal.alarm(0)
        _watch.inside = None
        if _watch.seen:
            raise Misdeed(f"it did {'; '.join(_watch.seen)}")
        if os.listdir(outside) != ["file"] or (outside / "file").read_bytes() != b"untouched":
            raise Misdeed("changed a file outside")
        if sorted(os.listdir(base)) != ["outside", "work"] or list(base.rglob("pwned")):
            raise Misdeed("wrote outside of its folder, or ran code")
    finally:
        _watch.inside = None
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        os.chdir(here)
        tempfile.tempdir = None
        shutil.rmtree(base, ignore_errors=True)
