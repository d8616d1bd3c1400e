"""The raw files of a data set: a folder, a zip or a tar, read by name and never outside of it."""

import fnmatch
import lzma
import os
import posixpath
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Self

import numpy as np

from vqad.data.decode import decode_mask
from vqad.errors import VqadError, reason
from vqad.paths import links_out_of, names_below

_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error),
    *(EOFError, OSError, RuntimeError, ValueError),  # RuntimeError: a zip with a password
)

MAX_BYTES = 2**29  # more than any picture has
_MAX_HEADER = 2**20


class LayoutError(VqadError):
    """Nothing there is in the layout expected."""


class Files:
    """The files of one layout; names are those of the layout, with slashes."""

    def __init__(self, source: Path, found: dict[str, tuple[Path, str]]) -> None:
        self.source = str(source)  # the folder or archive they come from
        self.names = tuple(sorted(found))
        self._found = found

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def read(self, name: str) -> bytes:
        """The bytes of a file, which has to be there."""
        told = self.path(name)
        path = self._found[name][0]
        try:
            if not path.is_file():  # a pipe, say, on which a reader would wait
                raise OSError("not a plain file")
            return path.read_bytes()
        except OSError as error:
            raise VqadError(f"{told}: cannot be read ({reason(error)}); replace it") from error

    def mask(self, name: str, size: tuple[int, int] | None = None) -> np.ndarray:
        """A file as `decode_mask` reads it."""
        told = self.path(name)
        return decode_mask(self._found[name][0], told, size)

    def path(self, name: str) -> str:
        """What errors call a file, which has to be there: its path, or `<archive>:<member>`."""
        if name not in self._found:
            raise VqadError(f"{self.source}: has no {name}; add it")
        return self._found[name][1]


class _Header(tarfile.TarInfo):
    """A member of a tar whose header is none of those that tarfile loops on or reads whole."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        is_file = member.type in tarfile.REGULAR_TYPES
        if member.size < 0 or (member.size > _MAX_HEADER and not is_file):
            raise tarfile.ReadError(f"a header of {member.size:,} bytes")
        return member


def _open_tar(path: Path) -> tarfile.TarFile:
    return tarfile.open(path, tarinfo=_Header)


Member = tuple[str, int, bool, Callable[[], IO[bytes]]]  # name, size, no link or pipe, contents


def _members(path: Path) -> Iterator[Member]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                plain = not stat.S_ISLNK(info.external_attr >> 16)
                if not info.is_dir():
                    yield info.filename, info.file_size, plain, partial(archive.open, info)
    else:
        with _open_tar(path) as archive:
            for info in archive:
                if not info.isdir():
                    contents = partial(archive.extractfile, info)
                    yield info.name, info.size, info.isfile(), contents


def is_archive(path: Path) -> bool:
    """Whether the contents are those of a zip or a tar, compressed or not."""
    try:
        _open_tar(path).close()
    except tarfile.TarError:
        return zipfile.is_zipfile(path)
    return True


def open_files(
    path: str | os.PathLike,
    pattern: str,
    layout: str,
    scratch: str | os.PathLike,
    archives: Sequence[str] = (),
) -> Files:
    """Finds the files of a layout in a folder or in an archive.

    Args:
      path: An archive; a folder in the layout, or one that holds such a folder or an archive called
        as one of `archives` says (with wildcards).
      pattern: What a whole path is matched against, `<stem of path>/<path within>`; its group
        `name` is the name in the layout, what stands before it must be the same for all files.
      layout: The layout in words, for errors.
      scratch: An empty folder to extract to what was matched in an archive.
      archives: Names of archives.

    Raises:
      LayoutError: Nothing there is in this layout.
      VqadError: There is nothing or too much, or it is damaged or leads out of its folder.
    """
    source, wanted = Path(path).expanduser(), re.compile(pattern)
    try:
        if not source.exists():
            raise VqadError(f"{source}: no such file or folder; check the path")
        found = {}
        if source.is_dir():
            found = _in_folder(source, wanted)
            source = source if found else _only_archive(source, archives)
        if not source.is_dir():
            found = _extracted(source, wanted, Path(scratch))
    except VqadError:
        raise
    except _BROKEN as error:
        where = getattr(error, "filename", None) or source
        what = f"damaged, or cannot be read or extracted ({reason(error)})"
        advice = "check its permissions and the free space, or download it again"
        raise VqadError(f"{where}: {what}; {advice}") from error
    if not found:
        also = f", or an archive of that ({', '.join(archives)})" if archives else ""
        what = f"not in the layout expected; give a folder with {layout}{also}"
        raise LayoutError(f"{source}: {what}")
    prefixes = sorted({match.string[: match.start("name") - 1] for match in found})
    if len(prefixes) > 1:
        several = " and ".join(prefixes)
        raise VqadError(f"{source}: holds the data twice, in {several}; give one of them")
    return Files(source, {match["name"]: file for match, file in found.items()})


def _only_archive(folder: Path, archives: Sequence[str]) -> Path:
    """The archive with one of the names in a folder; the folder if there is none."""
    known = re.compile("|".join(map(fnmatch.translate, archives)) or "(?!)", re.IGNORECASE)
    found = sorted(filter(known.match, os.listdir(folder)))
    if len(found) > 1:
        raise VqadError(f"{folder}: holds {' and '.join(found)}; give the path of one of them")
    return folder / found[0] if found else folder


def _match(wanted: re.Pattern, stem: str, name: str) -> re.Match | None:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
    return None if hidden else wanted.fullmatch(f"{stem}/{name}")


def _in_folder(root: Path, wanted: re.Pattern) -> dict[re.Match, tuple[Path, str]]:
    for link in links_out_of(root, hidden=False):
        raise VqadError(f"{link}: a link that leads out of {root}; put the files themselves there")
    stem, names = root.resolve().name, names_below(root, hidden=False)
    found = ((_match(wanted, stem, name), root / name) for name in names)
    return {match: (path, str(path)) for match, path in found if match}


def _extracted(source: Path, wanted: re.Pattern, scratch: Path) -> dict[re.Match, tuple[Path, str]]:
    """What is wanted of an archive, extracted under numbers."""
    if not is_archive(source):
        what = "neither a zip nor a tar, or not the whole of one"
        raise VqadError(f"{source}: {what}; download it again or give a folder")
    found, unpacked, problem = {}, 0, ""
    for number, (name, size, plain, contents) in enumerate(_members(source)):
        match = _match(wanted, source.name.partition(".")[0], posixpath.normpath(name))
        unpacked += size if match else 0
        if not plain:
            problem = "is a link"
        elif re.match(r"[/\\]|.:|(.*[/\\])?\.\.([/\\]|$)", name, re.DOTALL):
            problem = "leads out of the archive"
        elif size < 0 or (match and size > MAX_BYTES):
            problem = f"has {size:,} bytes unpacked, more than any picture"
        elif unpacked > MAX_BYTES + 100 * source.stat().st_size:
            problem = "and those before it unpack to more than a hundred times its size"
        if problem:
            raise VqadError(f"{source}: member {name!r} {problem}; get it from its publisher")
        if match:
            with contents() as packed, open(scratch / str(number), "wb") as file:
                shutil.copyfileobj(packed, file)
            found[match] = (scratch / str(number), f"{source}:{name}")
    return found
