"""What lies in a folder: pictures, subfolders, and links that lead out of it."""

import os
from collections.abc import Iterator

from etils.epath import Path

from vqad.paths import listing

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


def is_picture(name: str) -> bool:
    """Whether a file is called as a picture; companion files of macOS are not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def files_below(root: Path, strict: bool = True) -> Iterator[str]:
    """Paths of all files that are not hidden, below or in a folder; links to folders are left out.

    Args:
      root: the folder.
      strict: whether a folder that cannot be read is an error; else it is passed over.

    Raises:
      OSError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        if strict:
            raise error

    folders, names = listing(root, fail)
    yield from (str(root / name) for name in names if not name.startswith("."))
    for name in folders:
        if not name.startswith(".") and not os.path.islink(root / name):
            yield from files_below(root / name, strict)


def odd_files(root: str | os.PathLike) -> Iterator[str]:
    """Paths below a folder that are neither files nor folders: pipes and devices."""
    for folder, _, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in names):
            if os.path.exists(path) and not os.path.isfile(path):
                yield path


def links_below(root: str | os.PathLike) -> Iterator[str]:
    """Paths of the links below a folder, wherever they lead; none is followed."""
    for folder, folders, names in os.walk(root):
        paths = (os.path.join(folder, name) for name in folders + names)
        yield from filter(os.path.islink, paths)


def pictures_below(root: Path) -> Iterator[str]:
    """Paths of the pictures below or in a folder."""
    return (path for path in files_below(root) if is_picture(os.path.basename(path)))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, sorted, broken links too; none if there is no folder."""
    return [folder / name for name in files_in(folder) if is_picture(name)]


def files_in(folder: Path) -> list[str]:
    """Names of the files directly in a folder, sorted; none if there is no such folder."""
    return listing(folder, _fail_if_there)[1]


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in a folder that are not hidden, sorted; none if there is no such."""
    names, _ = listing(folder, _fail_if_there)
    return [folder / name for name in names if not name.startswith(".")]


def _fail_if_there(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def links_out_of(root: Path, hidden: bool = False) -> Iterator[str]:
    """Paths of the links below a folder, hidden ones if asked, that lead outside of it.

    A bucket has no links.
    """
    inside = os.path.realpath(root)
    for folder, folders, names in os.walk(root):
        if not hidden:
            folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(folders + names):
            path = os.path.join(folder, name)
            if os.path.islink(path) and (hidden or not name.startswith(".")):
                target = os.path.realpath(path)
                if os.path.commonpath((inside, target)) != inside:
                    yield path
