"""Images of one split, at random access."""

import copy
import hashlib
import threading
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from vqad.data.decode import decode, decode_mask, resize_mask
from vqad.data.findings import Finding
from vqad.data.layouts import GOOD, Split
from vqad.data.numbers import ValueRange

Example = dict[str, np.ndarray]

CACHE_BYTES = 2**30


class Source:
    """Images of one split at random access, decoded, resized and kept in memory up to a limit.

    `source[i]` is a dict with `image` (uint8 [h, w, 3]) and, for a test split or a labelled defect,
    `mask` (uint8 [h, w] of 0 and 1, all masks of the image joined), `label` (int32: 0 good, 1
    defective), `class_id` (int32, into `classes`) and `has_mask` (bool: False for a defect without
    a mask, of which `mask` tells nothing). The arrays are read-only. Several threads may read at
    once.

    A subclass, for folders or for prepared data sets, lists its images and reads them undecoded.
    """

    name: str  # what it was opened by
    split: Split
    layout: str = ""  # how the images are kept
    classes: tuple[str, ...] = (GOOD,)  # names, "good" first
    num_labelled: int = 0  # how many of the images, the last ones, are defects to train with
    findings: Sequence[Finding] = ()  # what is wrong with names alone, and what is left out
    entries: Sequence[Any]  # what tells the images; of a folder, its records
    image_size: tuple[int, int] | None = None  # height and width; None where each keeps its own
    value_range: ValueRange | None = None  # as of `decode`

    def __init__(self, name: str, split: Split) -> None:
        self.name, self.split, self._where = name, split, f"{name}: "
        self._room = 0
        self._cache: dict[int, Example] = {}
        self._lock = threading.Lock()

    def read(self, index: int) -> tuple[bytes | str, Sequence[bytes | str], int]:
        """The bytes or path of a picture and of its masks (none: all good), and the class id."""
        raise NotImplementedError

    def names(self, index: int) -> str:
        """What reports call image `index`: its path in the folder, or its id."""
        raise NotImplementedError

    def path(self, index: int) -> str:
        """What errors call an image: its path, or data set and id."""
        return f"{self._where}{self.names(index)}"

    def keep(self, image_size: tuple[int, int] | None, cache_bytes: int = CACHE_BYTES) -> Self:
        """Sets the size of images, and how much of what was decoded is kept in memory."""
        self.image_size, self._room, self._cache = image_size, cache_bytes, {}
        return self

    def __getstate__(self) -> dict:
        """Without what is in memory, for a loading process."""
        held = sum(a.nbytes for example in self._cache.values() for a in example.values())
        return self.__dict__ | {"_cache": {}, "_lock": None, "_room": self._room + held}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state | {"_lock": threading.Lock()})

    def __len__(self) -> int:
        return len(self.entries)

    def hold_out(self, share: float) -> tuple[Self, Self]:
        """This source without a share, in [0, 1), of its good images, and they alone.

        They are always the same ones, and are not kept in memory.
        """
        good = len(self) - self.num_labelled
        order = np.random.default_rng(0).permutation(good)
        held = np.sort(order[: round(share * good)])
        rest, part = copy.copy(self), copy.copy(self).keep(self.image_size, 0)
        rest.entries = [self.entries[i] for i in np.setdiff1d(np.arange(len(self)), held)]
        part.entries, part.num_labelled = [self.entries[i] for i in held], 0
        return rest, part

    def fingerprint(self) -> str:
        """A number, in hex, that tells its good images from others, by their names and order."""
        names = (self.names(i) for i in range(len(self) - self.num_labelled))
        return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()[:16]

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        with self._lock:
            if index in self._cache:
                return dict(self._cache[index])
        example = self._load(index)
        size = sum(array.nbytes for array in example.values())
        with self._lock:
            if index not in self._cache and size <= self._room:
                self._room -= size
                self._cache[index] = example
        return dict(example)

    def _load(self, index: int) -> Example:
        picture, masks, class_id = self.read(index)
        name = self.path(index)
        image, size, *_ = decode(picture, self.image_size, name, self.value_range)
        example: Example = {"image": image}
        if self.split == "test" or class_id != 0:
            joined = np.zeros(size, np.uint8)
            for mask in masks:
                joined |= decode_mask(
                    mask, mask if isinstance(mask, str) else f"{name} (mask)", size
                )
            example["mask"] = resize_mask(joined, self.image_size or size)
            example["mask"].setflags(write=False)
            example["label"] = np.int32(class_id != 0)
            example["class_id"] = np.int32(class_id)
            example["has_mask"] = np.bool_(class_id == 0 or bool(masks))
        return example
