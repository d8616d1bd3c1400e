"""What epath leaves open of paths to folders of this machine and to buckets (gs://)."""

import os
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec.config
from etils import epath

from vqad.errors import VqadError, reason

_AT_ONCE = 8
_JUNCTION = 0xA0000003  # stat.IO_REPARSE_TAG_MOUNT_POINT, which only Windows' Python has

# Of a bucket TensorStore and other processes write too, of which a kept listing knows nothing.
fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path leads to a bucket and not into a file system of this machine."""
    return "://" in os.fspath(path)


def check_reachable(path: str | os.PathLike, name: str | None = None) -> None:
    """Refuses a remote path whose bucket cannot be looked into; to be called before other uses.

    Raises a VqadError, which calls the path by ``name``, for storages that are not known too.
    """
    if not is_remote(path):
        return
    name = name or os.fspath(path)
    scheme, bucket = re.match("(.*?)://([^/]*)", os.fspath(path)).groups()
    if scheme != "gs":
        raise VqadError(f"{name}: no such storage; give a folder, or gs://<bucket>/<folder>")
    try:
        epath.Path(f"gs://{bucket}").stat()
    except ImportError as error:
        raise VqadError(f"{name}: gs:// needs more; pip install 'vqad[gcs]'") from error
    except Exception as error:  # of the network, of credentials, of three libraries
        why = "not found" if isinstance(error, FileNotFoundError) else reason(error)
        raise VqadError(
            f"{name}: the bucket {bucket} cannot be looked into ({why}); check its name, your "
            "permissions and the application default credentials"
        ) from error


def check_local(path: str | os.PathLike) -> None:
    """Refuses, with a VqadError, a remote path where only this machine's files can be read."""
    if is_remote(path):
        raise VqadError(f"{path}: is read from this machine only; copy it here and give that path")


def absolute(path: str | os.PathLike) -> epath.Path:
    """An absolute path; epath's own would put a remote one below the current folder."""
    return epath.Path(path) if is_remote(path) else epath.Path(path).absolute()


def real(path: str | os.PathLike) -> str:
    """Where a path really leads: absolute, without links and ``~``; a bucket has neither."""
    path = os.fspath(path)
    if is_remote(path) or "\0" in path:  # as no path has, but a damaged description may
        return path.rstrip("/")
    return os.path.realpath(os.path.expanduser(path))


def is_link(path: str | os.PathLike) -> bool:
    """Whether a path of this machine is a link, or a junction, as Windows has them of folders."""
    tag = getattr(os.lstat(path), "st_reparse_tag", 0)
    return os.path.islink(path) or tag == _JUNCTION


def size_and_time(path: str | os.PathLike) -> tuple[int, int]:
    """Bytes of a file, and when it was written, in seconds since 1970."""
    if is_remote(path):
        found = epath.Path(path).stat()
        return found.length, found.mtime
    found = os.stat(path)  # epath's also looks for the owner's name, which containers may lack
    return found.st_size, int(found.st_mtime)


def write_atomic(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file whole or not at all, with its folder: an older one stays until then."""
    if is_remote(path):  # objects appear whole
        epath.Path(path).write_bytes(content)
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise


def append(path: str | os.PathLike, text: str) -> None:
    """Adds text to a file; an object, to which nothing can be added, is written anew."""
    path = epath.Path(path)
    if is_remote(path):
        path.write_text((path.read_text() if path.exists() else "") + text)
        return
    with path.open("a") as file:
        file.write(text)


def copy_tree(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copies the files below a folder, from a bucket to this machine or the other way.

    What is there with the same size, and not older, is taken for the same. Raises a VqadError for
    an object whose name leads out of the folder.
    """
    source, target = epath.Path(source), epath.Path(target)

    def copy(name: str) -> None:
        if ".." in name.split("/"):  # of objects any name will do
            raise VqadError(f"{source}/{name}: a name that leads out of its folder; rename it")
        old, new = source / name, target / name
        size, written = size_and_time(old)
        if new.exists():
            size_there, written_there = size_and_time(new)
            if size_there == size and written_there >= written:
                return
        write_atomic(new, old.read_bytes())
        if not is_remote(new):
            os.utime(new, (written, written))  # else it would be newer on its way back

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(copy, names_below(source)))


def names_below(root: epath.Path, prefix: str = "", *, hidden: bool = True) -> Iterator[str]:
    """Relative names of the files below a folder, with slashes; links to folders are not followed.

    Args:
      root: the folder, of this machine or of a bucket; an OSError if it, or one in it, is closed.
      prefix: only what lies below this folder of it, given with a slash at its end.
      hidden: list also what is called with a full stop, or lies in folders called so.
    """
    folder, inner, names = entries(root / prefix)
    inner, names = ([n for n in each if hidden or n[0] != "."] for each in (inner, names))
    yield from (prefix + name for name in names)
    for name in inner:
        if not os.path.islink(folder / name):
            yield from names_below(root, f"{prefix}{name}/", hidden=hidden)


def entries(folder: epath.Path) -> tuple[epath.Path, list[str], list[str]]:
    """A folder, and the names of folders and of files in it, sorted; an OSError if it is closed.

    Links to folders are among the folders.
    """

    def fail(error: OSError) -> None:
        raise error

    # Of folders of this machine epath's own walk would take links to folders for files.
    remote = is_remote(folder)
    walk = folder.walk(on_error=fail) if remote else os.walk(folder, onerror=fail)
    _, inner, names = next(iter(walk), (folder, [], []))
    return folder, sorted(inner), sorted(names)


def _entries_below(root: str | os.PathLike) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        yield from (os.path.join(folder, name) for name in sorted(folders + names))


def odd_files(root: str | os.PathLike) -> Iterator[str]:
    """Paths below a folder of this machine that are neither files nor folders: pipes, devices."""
    for path in _entries_below(root):
        if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            yield path


def links_below(root: str | os.PathLike) -> Iterator[str]:
    """Paths of the links below a folder of this machine, wherever they lead; none is followed."""
    return filter(os.path.islink, _entries_below(root))


def links_out_of(root: str | os.PathLike, hidden: bool = True) -> Iterator[str]:
    """Paths of the links below a folder that lead outside of it; a bucket has none.

    Those too that are called with a full stop, or lie in folders called so, if ``hidden``.
    """
    inside = os.path.realpath(root)
    for path in links_below(root):
        outside = os.path.commonpath((inside, os.path.realpath(path))) != inside
        if outside and (hidden or "/." not in f"/{os.path.relpath(path, root)}"):
            yield path
