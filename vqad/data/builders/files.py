"""The raw files of a data set: a folder, a zip or a tar, read by name and never outside of it."""

import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol, Self

from vqad.data.tree import files_below, links_out_of
from vqad.errors import VqadError

_ARCHIVES = (".zip", ".tar", ".tar.xz", ".tar.gz", ".tgz", ".txz", ".tar.bz2")
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error),
    *(EOFError, OSError, RuntimeError, ValueError),  # RuntimeError: a zip with a password
)


MAX_BYTES = 2**29
"""More than any picture has."""

_HEADERS = (  # of the member after them in a tar, as its name where it is long
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_MAX_HEADER = 2**20


class LayoutError(VqadError):
    """Nothing there is in the layout expected."""


class _Container(Protocol):
    """What holds files: a folder or an archive; `path` names it, or one file in it, in errors."""

    stem: str

    def names(self) -> Iterable[str]: ...

    def read(self, name: str) -> bytes: ...

    def path(self, name: str = "") -> str: ...


class Files:
    """The files of one layout, wherever they lie; names are those of the layout, with slashes.

    Attributes:
      source: The folder or archive they come from.
      names: All names, sorted.
    """

    def __init__(self, container: _Container, found: dict[str, str]) -> None:
        self.source = container.path()
        self.names = tuple(sorted(found))
        self._container = container
        self._found = found

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
          VqadError: It is not there or cannot be read.
        """
        if name not in self._found:
            raise VqadError(f"{self.source}: has no {name}; add it")
        try:
            return self._container.read(self._found[name])
        except _BROKEN as error:
            raise VqadError(
                f"{self.path(name)}: cannot be read ({error}); check or replace it"
            ) from error

    def path(self, name: str) -> str:
        """What errors call a file: its path, or `<archive>:<member>`."""
        return self._container.path(self._found[name])


class _Folder:
    def __init__(self, root: Path, stem: str | None = None) -> None:
        self.stem = root.resolve().name if stem is None else stem
        self._root = root

    def names(self) -> Iterator[str]:
        for link in links_out_of(self._root):
            raise VqadError(
                f"{link}: a link that leads out of {self._root}; put the files themselves there"
            )
        for path in files_below(self._root):
            yield Path(path).relative_to(self._root).as_posix()

    def read(self, name: str) -> bytes:
        path = Path(self._root, name)
        if path.exists() and not path.is_file():  # a pipe, say, on which a reader would wait
            raise ValueError("not a plain file")
        return path.read_bytes()

    def path(self, name: str = "") -> str:
        return str(self._root / name)


class _Zip:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.stem = path.name.partition(".")[0]
        self._path = path
        self._archive = archive

    def names(self) -> Iterator[str]:
        for member in self._archive.infolist():
            _check_member(self._path, member.filename, stat.S_ISLNK(member.external_attr >> 16))
            if not member.is_dir():
                yield member.filename

    def read(self, name: str) -> bytes:
        _check_size(self._path, name, self._archive.getinfo(name).file_size)
        return self._archive.read(name)

    def path(self, name: str = "") -> str:
        return f"{self._path}:{name}" if name else str(self._path)


class _Extracted(_Folder):
    """What was wanted of a tar, which has no random access, but named after the tar."""

    def __init__(self, tar: Path, folder: Path) -> None:
        super().__init__(folder, tar.name.partition(".")[0])
        self._tar = tar

    def path(self, name: str = "") -> str:
        return f"{self._tar}:{name}" if name else str(self._tar)


def _check_size(archive: Path, name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise VqadError(
            f"{archive}: member {name!r} has {size:,} bytes unpacked, more than any picture; "
            "get the archive from its publisher"
        )


def _check_member(archive: Path, name: str, is_link: bool) -> None:
    if is_link:
        problem = "is a link"
    elif name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or name[1:2] == ":":
        problem = "leads out of the archive"
    else:
        return
    raise VqadError(f"{archive}: member {name!r} {problem}; get the archive from its publisher")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


class _Member(tarfile.TarInfo):
    """A member of a tar whose header is none of those that tarfile loops on or reads whole."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0 or (member.type in _HEADERS and member.size > _MAX_HEADER):
            raise tarfile.ReadError(f"a header of {member.size:,} bytes")
        return member


def _open_tar(path: Path) -> tarfile.TarFile:
    return tarfile.open(path, tarinfo=_Member)


def _is_tar(path: Path) -> bool:
    try:
        _open_tar(path).close()
    except tarfile.TarError:
        return False
    return True


def _extract(path: Path, pattern: re.Pattern, scratch: Path) -> _Extracted:
    stem = path.name.partition(".")[0]
    unpacked = 0
    with _open_tar(path) as archive:
        for member in archive:
            _check_member(path, member.name, not (member.isfile() or member.isdir()))
            if member.size < 0:  # in a header of its own
                raise tarfile.ReadError(f"a member of {member.size:,} bytes")
            name = os.path.normpath(member.name)
            if member.isfile() and not _hidden(name) and pattern.fullmatch(f"{stem}/{name}"):
                _check_size(path, member.name, member.size)
                unpacked += member.size
                if unpacked > MAX_BYTES + 100 * path.stat().st_size:
                    raise VqadError(
                        f"{path}: unpacks to more than a hundred times its size, which pictures do "
                        "not; get the archive from its publisher"
                    )
                archive.extract(member, scratch, filter="data")
    return _Extracted(path, scratch)


def _matching(container: _Container, pattern: re.Pattern) -> dict[str, str]:
    """The files that belong to the layout: their names in it, and in the container."""
    found: dict[str, str] = {}
    prefixes = set()
    for name in container.names():
        match = pattern.fullmatch(f"{container.stem}/{name}")
        if match and not _hidden(name):
            prefixes.add(match.string[: match.start("name")])
            found[match["name"]] = name
    if len(prefixes) > 1:
        several = " and ".join(sorted(prefix.rstrip("/") for prefix in prefixes))
        raise VqadError(f"{container.path()}: holds the data twice, in {several}; give one of them")
    return found


def is_archive(path: Path) -> bool:
    """Whether the contents are those of a zip or a tar, compressed or not."""
    return zipfile.is_zipfile(path) or _is_tar(path)


@contextmanager
def open_files(
    path: str | os.PathLike,
    pattern: str,
    layout: str,
    scratch: str | os.PathLike,
    archives: Sequence[str] = (),
) -> Iterator[Files]:
    """Finds the files of a layout in a folder or in an archive.

    Args:
      path: An archive; a folder in the layout, or one that holds such a folder; or a folder that
        holds an archive with one of the names `archives`.
      pattern: What a whole path is matched against, `<stem of path>/<path within>`; its group
        `name` is the name in the layout, what stands before it must be the same for all files.
      layout: The layout in words, for errors.
      scratch: An empty folder to extract to what was matched in a tar; zips are read in place.
      archives: File names, with wildcards.

    Yields:
      The files, to be read before the context ends.

    Raises:
      VqadError: There is nothing, nothing in this layout or too much; the archive is damaged; a
        member of it or a link in the folder leads out of it.
    """
    with ExitStack() as stack:
        files = _find(stack, Path(path).expanduser(), re.compile(pattern), scratch, archives)
        if not files.names:
            names = f", or an archive of that ({', '.join(archives)})" if archives else ""
            raise LayoutError(
                f"{files.source}: not in the layout expected; give a folder with {layout}{names}"
            )
        yield files


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except VqadError:
        raise
    except OSError as error:
        raise VqadError(
            f"{error.filename or path}: cannot be read or extracted ({error.strerror or error})"
            "; check it, its permissions and the free space"
        ) from error
    except _BROKEN as error:
        reason = " ".join(str(error).split())
        raise VqadError(
            f"{path}: a damaged archive ({reason}); download it again or give a folder"
        ) from error


def _find(
    stack: ExitStack,
    path: Path,
    pattern: re.Pattern,
    scratch: str | os.PathLike,
    archives: Sequence[str],
) -> Files:
    with _one_line(path):
        if not path.exists():
            raise VqadError(f"{path}: no such file or folder; check the path")
        if path.is_dir():
            folder = _Folder(path)
            files = Files(folder, _matching(folder, pattern))
            archive = None if files.names else _only_archive(path, archives)
            if archive is None:
                return files
            path = archive
    with _one_line(path):
        if zipfile.is_zipfile(path):
            container = _Zip(path, stack.enter_context(zipfile.ZipFile(path)))
        elif _is_tar(path):
            container = _extract(path, pattern, Path(scratch))
        else:
            raise VqadError(
                f"{path}: neither a zip nor a tar, or not the whole of one; "
                "download it again or give a folder"
            )
        return Files(container, _matching(container, pattern))


def _only_archive(folder: Path, archives: Sequence[str]) -> Path | None:
    found = sorted(
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(_ARCHIVES)
        and any(fnmatchcase(path.name.lower(), known.lower()) for known in archives)
    )
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise VqadError(f"{folder}: holds {names}; give the path of one of them")
    return found[0] if found else None
