"""Where images come from, by name: a folder or a prepared TFDS data set, read at random access."""

import hashlib
import os
import threading

import numpy as np

from vqad.data.checks import Backend, check_both_labels, examine_split, leaks
from vqad.data.decode import check_mask_size, decode_mask, decode_resized, resize_mask
from vqad.data.findings import Finding, act_on
from vqad.data.layouts import NoTestSplit, Split, read_folder
from vqad.errors import VqadError
from vqad.paths import check_reachable

Example = dict[str, np.ndarray]

CACHE_BYTES = 2**30
TFDS_PREFIX = "tfds:"


class Source:
    """Images of one split at random access, decoded, resized and kept in memory up to a limit.

    `source[i]` is a dict with `image` (uint8 [h, w, 3]) and, for a test split or a labelled defect,
    `mask` (uint8 [h, w] of 0 and 1), `label` (int32: 0 good, 1 defective) and `class_id` (int32,
    into `classes`). The arrays are read-only. Several threads may read at once.

    Attributes:
      name: The name it was opened by.
      split: 'train' or 'test'.
      classes: Names of the classes, 'good' first.
      image_size: Height and width of every image, or None where each keeps its own.
      num_labelled: How many of the images, the last ones, are labelled defects to train with.
    """

    def __init__(
        self,
        backend: Backend,
        split: Split,
        image_size: tuple[int, int] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.name = backend.name
        self.split = split
        self.classes = backend.classes
        self.image_size = image_size
        self.num_labelled = backend.num_labelled
        self._backend = backend
        self._room = cache_bytes
        self._cache: dict[int, Example] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict:
        """Without what is in memory, for a loading process."""
        held = sum(a.nbytes for example in self._cache.values() for a in example.values())
        return self.__dict__ | {"_cache": {}, "_lock": None, "_room": self._room + held}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state | {"_lock": threading.Lock()})

    def __len__(self) -> int:
        return len(self._backend)

    def names(self, index: int) -> str:
        """What reports call image `index`: its path in the folder, or its id."""
        return self._backend.names(index)

    def hold_out(self, share: float) -> tuple["Source", "Source"]:
        """Takes some of the good images out of training, always the same ones.

        Args:
          share: of the good images, in [0, 1).

        Returns:
          This source without them, and they alone.
        """
        good = len(self) - self.num_labelled
        order = np.random.default_rng(0).permutation(good)
        held = np.sort(order[: round(share * good)])
        kept = np.setdiff1d(np.arange(len(self)), held)
        room = self._room
        return (
            Source(
                _Part(self._backend, kept, self.num_labelled), self.split, self.image_size, room
            ),
            Source(_Part(self._backend, held, 0), self.split, self.image_size, 0),
        )

    def fingerprint(self) -> str:
        """A number, in hex, that tells its good images from others, by their names and order."""
        names = (self.names(i) for i in range(len(self) - self.num_labelled))
        return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()[:16]

    def shared_with(self, test: "Source") -> list[Finding]:
        """Findings for the images that are byte for byte the same in `test`, a test split."""
        return leaks(self._backend, test._backend)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        with self._lock:
            cached = self._cache.get(index)
        if cached is not None:
            return dict(cached)
        example = self._load(index)
        size = sum(array.nbytes for array in example.values())
        with self._lock:
            if index not in self._cache and size <= self._room:
                self._room -= size
                self._cache[index] = example
        return dict(example)

    def _load(self, index: int) -> Example:
        picture, mask_data, class_id = self._backend.read(index)
        name = self._backend.path(index)
        image, size = decode_resized(picture, self.image_size, name)
        example: Example = {"image": image}
        if self.split == "test" or class_id != 0:
            mask_name = mask_data if isinstance(mask_data, str) else f"{name} (mask)"
            mask = np.zeros(size, np.uint8)
            if mask_data is not None:
                mask = decode_mask(mask_data, mask_name)
            check_mask_size(mask_name, mask.shape, size)
            example["mask"] = (
                mask if self.image_size is None else resize_mask(mask, self.image_size)
            )
            example["label"] = np.int32(class_id != 0)
            example["class_id"] = np.int32(class_id)
        for array in example.values():
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
        return example


class _Part:
    """Some of the images of a backend."""

    def __init__(self, backend: Backend, indices: np.ndarray, num_labelled: int) -> None:
        self.name, self.classes, self.layout = backend.name, backend.classes, backend.layout
        self.findings, self.num_labelled = backend.findings, num_labelled
        self._backend, self._indices = backend, indices

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, index: int) -> tuple[bytes | str, bytes | str | None, int]:
        return self._backend.read(int(self._indices[index]))

    def names(self, index: int) -> str:
        return self._backend.names(int(self._indices[index]))

    def path(self, index: int) -> str:
        return self._backend.path(int(self._indices[index]))


class _Folder:
    """A folder in one of the layouts of `vqad.data.layouts`."""

    def __init__(self, path: str, split: Split, labelled: bool, tree: bool) -> None:
        self.name = path
        self.layout, self.classes, self._records, self.findings = read_folder(
            path, split, labelled, tree
        )
        self.num_labelled = sum(r.label for r in self._records) if split == "train" else 0

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int) -> tuple[str, str | None, int]:
        record = self._records[index]
        return record.path, record.mask_path, self.classes.index(record.class_name)

    def names(self, index: int) -> str:
        return os.path.relpath(self._records[index].path, os.path.expanduser(self.name))

    def path(self, index: int) -> str:
        return self._records[index].path


def open_backend(
    spec: str,
    split: Split,
    *,
    labelled: bool = False,
    tree: bool = False,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    allow_partial: bool = False,
) -> Backend:
    """Lists the images that `spec` names, without looking into them; see `open_source`."""
    if not spec:
        raise VqadError("data: no source given; give a folder or tfds:<name>[/<config>]")
    if spec.startswith(TFDS_PREFIX):
        from vqad.data.tfds_source import TfdsBackend  # imports TFDS, slow

        return TfdsBackend(spec, split, labelled, data_dir, manual_dir, allow_partial)
    check_reachable(spec)
    return _Folder(spec, split, labelled, tree)


def open_source(
    spec: str,
    split: Split,
    image_size: tuple[int, int] | None,
    *,
    labelled: bool = False,
    tree: bool = False,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    allow_partial: bool = False,
    cache_bytes: int = CACHE_BYTES,
) -> Source:
    """Opens the images that `spec` names and checks them, as `vqad doctor` does, but quickly.

    Args:
      spec: The path of a folder, also gs://, or `tfds:<name>[/<config>]` for a prepared TFDS data
        set; `tfds:surface_demo/tiles` and `tfds:surface_demo/pictures` are drawn where missing.
      split: 'train' for images to train with (or pictures of anything), 'test' for images with
        masks, labels and classes.
      image_size: Height and width to resize to, or None to keep each image's own.
      labelled: Whether a training split is to have its labelled defective images too, after the
        good ones.
      tree: Whether a folder may be any tree of pictures, however its folders are called.
      data_dir: Where TFDS keeps its data; its own default (TFDS_DATA_DIR) if None.
      manual_dir: Archive or folder to prepare a public data set from (`vqad.data.builders`), where
        it is not prepared yet.
      allow_partial: Whether that may be less or more than what was published.
      cache_bytes: How much of what was decoded and resized is kept in memory.

    Raises:
      VqadError: There is no such data, or what is there cannot be used (`vqad.data.findings`).
      NoTestSplit: There is nothing to test on.
    """
    backend = open_backend(
        spec,
        split,
        labelled=labelled,
        tree=tree,
        data_dir=data_dir,
        manual_dir=manual_dir,
        allow_partial=allow_partial,
    )
    # What is wrong with names is told first: it needs no picture to be read.
    act_on([finding for finding in backend.findings if finding.stops], spec)
    examined = examine_split(backend, split, quick=True)
    found = [*backend.findings, *(f for each in examined for f in each.findings)]
    if split == "test":
        found += check_both_labels(backend, examined)
    untestable = [finding for finding in found if finding.check == "no-test"]
    act_on([finding for finding in found if finding not in untestable], spec)
    if untestable:
        raise NoTestSplit(untestable[0].message)
    return Source(backend, split, image_size, cache_bytes)
