"""The pictures that a command is given: files, folders and patterns."""

import glob
import itertools
import os
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import NamedTuple, TypeVar

from vqad.data.decode import Decoded, decode
from vqad.data.findings import Finding, left_out
from vqad.data.formats import count_pages, split_page
from vqad.data.numbers import ValueRange
from vqad.data.scan import masks_beside, scan
from vqad.errors import VqadError
from vqad.paths import check_local

_AHEAD = 8
_ONE_PAGE = (".jpg", ".jpeg", ".bmp", ".jp2", ".j2k")  # need not be opened to know
T = TypeVar("T")


class Input(NamedTuple):
    """A picture: where it lies; a relative path of its own, without suffix, for what is written.

    Each page of a file is a picture, whose path ends with its number, as in ``x.tif[2]``.
    """

    path: str
    name: PurePath


def gather(
    given: Sequence[str], follow_links: bool = False, left: list[Finding] | None = None
) -> list[Input]:
    """Finds the pictures that files, folders and patterns (``*``, ``?``, ``[..]``, ``**``) mean.

    They come in order, each once; of folders all below them, but for the masks that data sets hold
    beside their pictures, below ``ground_truth`` or called ``*_GT.*``, or as ``a_mask.*`` beside
    ``a.*``. ``left`` gets what looks like a picture and is not among them. Raises a VqadError where
    there is no picture, or it cannot be read.
    """
    left = [] if left is None else left
    found: dict[str, tuple[str, PurePath]] = {}
    for argument in given:
        check_local(argument)
        argument = os.path.expanduser(argument)
        is_folder = os.path.isdir(argument)
        if is_folder:
            paths = _in_folder(argument, follow_links, left)
        elif os.path.exists(split_page(argument)[0]):
            paths = [argument]
        else:
            matched = sorted(glob.glob(argument, recursive=True))
            paths = [path for path in matched if os.path.isfile(path)]
            if "**" not in argument:
                left += [Finding.of("folder", path) for path in matched if os.path.isdir(path)]
            dead = [path for path in matched if not os.path.exists(path)]
            left += [Finding.of("link-broken", path, os.readlink(path)) for path in dead]
        if not paths:
            also = "; ".join(["", *left_out(left)])
            raise VqadError(f"{argument}: no picture there; check the path{also}")
        for path in paths:
            name = os.path.relpath(path, argument if is_folder else os.path.dirname(path))
            found.setdefault(os.path.realpath(path), (path, PurePath(name)))
    pictures = list(_paged(found.values()))
    # Of files and folders to come, and whatever the case: some file systems hold a.png and A.png
    # for one.
    folders = {str(folder).lower() for _, name in pictures for folder in name.parents}
    inputs, taken = [], set()
    for path, name in pictures:
        stem, number = name, 2
        while str(stem).lower() in taken or f"{stem}.png".lower() in folders:
            stem, number = name.with_name(f"{name.name}-{number}"), number + 1
        taken.add(str(stem).lower())
        inputs.append(Input(path, stem))
    return inputs


def _paged(found: Collection[tuple[str, PurePath]]) -> Iterator[tuple[str, PurePath]]:
    """Paths, with pages in place of files that hold several; and names without suffix."""

    def pages(path: str) -> list[int | None]:
        file, page = split_page(path)
        if page is not None or file.lower().endswith(_ONE_PAGE):
            return [page]
        count = count_pages(file)
        return list(range(count)) if count > 1 else [None]

    with ThreadPoolExecutor() as pool:
        numbers = list(pool.map(pages, [path for path, _ in found]))
    for (path, name), these in zip(found, numbers, strict=True):
        file, stem = split_page(path)[0], PurePath(split_page(str(name))[0]).with_suffix("")
        for page in these:
            told = "" if page is None else f"[{page}]"
            yield file + told, stem.with_name(stem.name + told)


def _in_folder(folder: str, follow_links: bool, left: list[Finding]) -> list[str]:
    """The pictures below a folder that are no masks."""
    found = scan(folder, follow_links)
    for error in found.closed:
        raise VqadError(
            f"{error.filename}: cannot be read ({error.strerror}); give the folders beside it, or "
            "permissions"
        ) from error
    left += found.findings
    beside, pictures = set(masks_beside(found.pictures)), []
    for name in found.pictures:
        path = str(Path(folder, found.names[name]))
        if re.search(r"(^|/)ground_truth/", name):
            left.append(Finding.of("mask", path))
        elif name in beside or re.search(r"_GT\.\w+$", name):
            left.append(Finding.of("mask-beside", path))
        else:
            pictures.append(path)
    return sorted(pictures)


def groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, and one of those that are left."""
    items = iter(items)
    while group := list(itertools.islice(items, size)):
        yield group


def decoded(
    inputs: Iterable[Input], value_range: ValueRange | None
) -> Iterator[tuple[Input, Decoded | VqadError]]:
    """Reads pictures in threads, some ahead; in place of one that cannot be read, the reason."""

    def read(one: Input) -> tuple[Input, Decoded | VqadError]:
        try:
            return one, decode(one.path, value_range=value_range)
        except VqadError as error:
            return one, error

    pool, waiting = ThreadPoolExecutor(max(2, (os.cpu_count() or 2) // 2)), deque()
    try:
        for one in inputs:
            waiting.append(pool.submit(read, one))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def readable(inputs: Iterable[Input], value_range: ValueRange | None) -> Iterator[Decoded]:
    """The pictures that ``decoded`` reads; raises the VqadError of the first that is none."""
    for _, picture in decoded(inputs, value_range):
        if isinstance(picture, VqadError):
            raise picture
        yield picture
