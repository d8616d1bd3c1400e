"""Reads every picture and mask of a source before anything else does, and tells what is wrong."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import NamedTuple, TypeVar

import numpy as np
from etils import epath

from vqad.data.decode import Header, check_mask_size, decode, read_header, read_mask
from vqad.data.findings import Finding
from vqad.data.layouts import GOOD
from vqad.data.source import Source
from vqad.errors import VqadError
from vqad.paths import size_and_time

T = TypeVar("T")

DECODE_AT_MOST = 5000  # before training, of more pictures only the headers are read
NEAR_CONSTANT = 1.0  # standard deviation, of 255, under which a picture shows next to nothing
MOST = 0.9  # share of an image above which its mask may be inverted, or drawn in its alpha channel
UNREADABLE = "unreadable"


class Examined(NamedTuple):
    """What was found in a split: all that is wrong, its classes, and how its pictures are kept."""

    findings: list[Finding]
    classes: Counter[str]
    headers: Counter[Header]


def examine_split(source: Source, quick: bool) -> Examined:
    """Examines every image of a split, with its mask.

    `quick` is what training does before it starts: read nothing if names alone stop it, no more
    than the headers of more than `DECODE_AT_MOST` pictures, and nothing of so many in a prepared
    set.
    """
    seen = Examined(list(source.findings), Counter(), Counter())
    stops = any(finding.stops for finding in source.findings)
    many = quick and len(source) > DECODE_AT_MOST
    if quick and (stops or (many and isinstance(source.read(0)[0], bytes))):
        return seen
    look = partial(_examine, source, whole=not many)
    for class_name, header, findings in _each(look, len(source)):
        seen.classes[class_name] += 1
        seen.headers.update([header] if header else [])
        seen.findings.extend(findings)
    labels = {name == GOOD for name in seen.classes if name != UNREADABLE}
    if source.split == "test" and len(labels) == 1 and not stops:
        kind = "defective" if True in labels else GOOD
        what = f"no {kind} image in test; judging needs good and defective ones"
        seen.findings.append(Finding.of("no-test", source.name, what))
    return seen


def _each(function: Callable[[int], T], count: int) -> Iterator[T]:
    """A function's results for 0 to ``count`` - 1, several worked on at once."""
    with ThreadPool((os.cpu_count() or 1) + 4) as pool:
        yield from pool.imap(function, range(count), 64)


def _examine(source: Source, index: int, whole: bool) -> tuple[str, Header | None, list[Finding]]:
    """An image's class, its header (None if it cannot be read) and what is wrong with it."""
    path, class_name, findings = source.path(index), UNREADABLE, []
    try:
        picture, masks, class_id = source.read(index)
        class_name = source.classes[class_id]
        header = read_header(picture, path)
        seen = decode(picture, None, path, source.value_range) if whole else None
    except VqadError as error:
        return class_name, None, [Finding("unreadable", path, str(error))]
    if seen is not None:
        if seen.image[::4, ::4].std((0, 1)).max() < NEAR_CONSTANT:
            findings.append(Finding.of("constant", path))
        findings += [Finding.of(check, path, *about) for check, *about in seen.notes]
    empty = bool(masks) and class_id != 0
    for mask in masks:
        name = mask if isinstance(mask, str) else f"{path} (mask)"
        values, more = _examine_mask(mask, name, header, whole)
        findings += more
        empty = empty and values is not None and not values.any()
    if empty:
        check = "labelled-empty" if source.split == "train" else "mask-empty"
        findings.append(Finding.of(check, name))
    return class_name, header, findings


def _examine_mask(
    mask: bytes | str, path: str, header: Header, whole: bool
) -> tuple[np.ndarray | None, list[Finding]]:
    """The values of a mask, None if they are not read, and what is wrong with it."""
    check = "unreadable"
    try:
        own = read_header(mask, path)
        values = read_mask(mask, path) if whole else None
        # An image is turned by a tag that its mask may lack.
        turned = header.orientation if own.orientation == 1 else 1
        check = "mask-size"
        check_mask_size(path, own[:2], header[:2], turned)
    except VqadError as error:
        return None, [Finding(check, path, str(error))]
    findings = []
    # Where sides are swapped, the size says which way up it was drawn.
    if turned > 1 and (turned < 5 or own.height == own.width):
        findings.append(Finding.of("mask-turned", path, turned))
    if path.lower().endswith((".jpg", ".jpeg")):
        findings.append(Finding.of("mask-jpeg", path))
    if values is not None and (values != 0).mean() > MOST:
        findings.append(Finding.of("mask-large", path))
    if values is not None and len(levels := np.unique(values[values != 0])) > 1:
        findings.append(Finding.of("mask-values", path, len(levels), levels[0], levels[-1]))
    return values, findings


def leaks(train: Source, test: Source) -> Iterator[Finding]:
    """Readable images that are byte for byte the same in both splits, looked for by their size."""
    sizes = [list(_each(partial(_size, source), len(source))) for source in (train, test)]
    shared = set(sizes[0]).intersection(sizes[1]) - {-1}
    known = {_digest(train, i): train.path(i) for i, size in enumerate(sizes[0]) if size in shared}
    for index, size in enumerate(sizes[1]):
        if size in shared and (other := known.get(_digest(test, index))):
            yield Finding.of("leak", test.path(index), other)


def _size(source: Source, index: int) -> int:
    """Bytes of a picture, -1 if it cannot be read."""
    with suppress(OSError, VqadError):
        picture = source.read(index)[0]
        return len(picture) if isinstance(picture, bytes) else size_and_time(picture)[0]
    return -1


def _digest(source: Source, index: int) -> bytes | str:
    """Of a picture; its name if it cannot be read."""
    with suppress(OSError, VqadError):
        picture = source.read(index)[0]
        data = picture if isinstance(picture, bytes) else epath.Path(picture).read_bytes()
        return hashlib.blake2b(data).digest()
    return f"{source.split} {index}"
