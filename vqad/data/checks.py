"""Reads every picture and mask of a source before anything else does, and tells what is wrong."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from etils import epath

from vqad.data.decode import Header, check_mask_size, decode_image, read_header, read_mask
from vqad.data.findings import Finding
from vqad.data.layouts import Split
from vqad.errors import VqadError
from vqad.paths import size_and_time

T = TypeVar("T")

DECODE_AT_MOST = 5000
"""Before training, of more pictures than this only the headers are read: decoding takes minutes."""

NEAR_CONSTANT = 1.0
"""Standard deviation, of 255, under which a picture shows next to nothing."""

LITTLE_OF_16_BITS = 64
"""Largest value, of 255, of a 16-bit picture that uses a quarter of its range: 14 bits or fewer."""

_AT_ONCE = 4096  # of all at once, each waiting one would take memory

MOST = 0.9
"""Share of an image above which its mask may be inverted, or drawn in its alpha channel."""


class Backend(Protocol):
    """Undecoded examples of one split; `layout` says how they are kept.

    `findings` are what is wrong with names alone.
    """

    name: str
    layout: str
    classes: tuple[str, ...]
    num_labelled: int
    findings: tuple[Finding, ...]

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[bytes | str, bytes | str | None, int]:
        """The picture and its mask (None where there is no defect), and the class id."""
        ...

    def names(self, index: int) -> str:
        """What reports call an image."""
        ...

    def path(self, index: int) -> str:
        """What errors call an image."""
        ...


class Examined(NamedTuple):
    """One image: its class and header ('' and None if unreadable), and what is wrong with it."""

    class_name: str
    header: Header | None
    findings: tuple[Finding, ...]


def examine_split(backend: Backend, split: Split, quick: bool) -> list[Examined]:
    """Examines every image of a split, with its mask.

    Args:
      backend: the images.
      split: which split it is of; an empty mask is worse in training than in test.
      quick: read no more than the headers of more than `DECODE_AT_MOST` pictures, and nothing of
        so many in a prepared data set.
    """
    many = quick and len(backend) > DECODE_AT_MOST
    if many and isinstance(backend.read(0)[0], bytes):
        return []
    return list(_each(lambda i: _examine(backend, i, split, whole=not many), len(backend)))


def _each(function: Callable[[int], T], count: int) -> Iterator[T]:
    """A function's results for 0 to ``count`` - 1, several worked on at once."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, count, _AT_ONCE):
            yield from pool.map(function, range(start, min(start + _AT_ONCE, count)))


def check_both_labels(backend: Backend, examined: Sequence[Examined]) -> list[Finding]:
    """A finding where a test split has no good image, or no defective one.

    Good images alone are like no test split; defective ones alone, more likely a folder misnamed.
    """
    good = {each.class_name == backend.classes[0] for each in examined if each.class_name}
    return [
        Finding(
            check,
            backend.name,
            f"{backend.name}: no {kind} image in test; judging needs good and defective ones",
        )
        for label, kind, check in ((True, "good", "layout"), (False, "defective", "no-test"))
        if good and label not in good
    ]


def _examine(backend: Backend, index: int, split: Split, whole: bool) -> Examined:
    path = backend.path(index)
    class_name = ""
    try:
        picture, mask, class_id = backend.read(index)
        class_name = backend.classes[class_id]
        header = read_header(picture, path)
        image = decode_image(picture, path) if whole else None
    except VqadError as error:
        return Examined(class_name, None, (Finding("unreadable", path, str(error)),))
    findings = []
    if image is not None and image[::4, ::4].std((0, 1)).max() < NEAR_CONSTANT:
        message = f"{path}: shows next to nothing, all of it has nearly one colour; check it"
        findings.append(Finding("constant", path, message))
    if image is not None and header.bits == 16 and image.max() <= LITTLE_OF_16_BITS:
        message = (
            f"{path}: 16-bit picture with no value above a quarter of the range, taken as nearly "
            "black; if its camera gives 10 to 14 bits, scale it to all 16"
        )
        findings.append(Finding("dark", path, message))
    if mask is not None:
        mask_path = mask if isinstance(mask, str) else f"{path} (mask)"
        findings += _examine_mask(mask, mask_path, header, bool(class_id), split, whole)
    return Examined(class_name, header, tuple(findings))


def _examine_mask(
    mask: bytes | str, path: str, header: Header, defective: bool, split: Split, whole: bool
) -> Iterator[Finding]:
    try:
        values = read_mask(mask, path) if whole else None
        size = read_header(mask, path)[:2] if values is None else values.shape
    except VqadError as error:
        yield Finding("unreadable", path, str(error))
        return
    try:
        check_mask_size(path, size, header[:2])
    except VqadError as error:
        yield Finding("mask-size", path, str(error))
    if values is None:
        return
    if defective and not values.any():
        message = f"{path}: an empty mask, though its image counts as defective; "
        if split == "train":
            advice = "draw the defect or move the image to the good ones"
            yield Finding("labelled-empty", path, message + advice)
        else:
            yield Finding("mask-empty", path, message + "draw the defect")
    if (values != 0).mean() > MOST:
        message = f"{path}: marks nearly the whole image as defective; is it inverted?"
        yield Finding("mask-large", path, message)
    levels = np.unique(values[values != 0])
    if len(levels) > 1:
        message = f"{path}: has {len(levels)} values beside 0 ({levels[0]} to {levels[-1]}); "
        yield Finding("mask-values", path, message + "make it black and one other value")


def leaks(train: Backend, test: Backend) -> list[Finding]:
    """Images that are byte for byte the same in both splits; only those of equal size are read.

    Images that cannot be read are passed over.
    """
    sizes: dict[int, list[list[int]]] = defaultdict(lambda: [[], []])
    for which, backend in enumerate((train, test)):
        for index, size in enumerate(_each(partial(_size, backend), len(backend))):
            if size is not None:
                sizes[size][which].append(index)
    findings = []
    for in_train, in_test in sizes.values():
        known = dict(_digests(train, in_train)) if in_test else {}
        for digest, index in _digests(test, in_test) if known else ():
            if digest in known:
                path, other = test.path(index), train.path(known[digest])
                message = f"{path}: byte for byte the training image {other}; remove one of them"
                findings.append(Finding("leak", path, message))
    return findings


def _size(backend: Backend, index: int) -> int | None:
    """Bytes of a picture, None if it cannot be read."""
    with suppress(OSError, VqadError):
        picture = backend.read(index)[0]
        return len(picture) if isinstance(picture, bytes) else size_and_time(picture)[0]
    return None


def _digests(backend: Backend, indices: Sequence[int]) -> Iterator[tuple[bytes, int]]:
    for index in indices:
        with suppress(OSError):
            picture = backend.read(index)[0]
            data = epath.Path(picture).read_bytes() if isinstance(picture, str) else picture
            yield hashlib.blake2b(data).digest(), index
