"""A number that tells whether arrays came back from a disk as they went there."""

import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vqad.processes import is_first


def digest(tree: Any) -> int:
    """Digests the bits of all arrays of a tree, with their places in it.

    A sum of all bits as whole numbers, weighted by odd numbers, modulo 2^32: any one changed bit
    shows, and the order of summation does not, so that arrays may be split over devices and
    processes in any way.

    Args:
      tree: arrays of 1, 2 or 4 bytes an element in nested containers; either NumPy's, whole on
        every process, or JAX's.

    Returns:
      A whole number from 0 to 2^32 - 1, the same on every process.

    Raises:
      TypeError: an array of larger elements.
    """
    total, split = 0, False
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        # Orbax gives some containers back as others; the names in them stay.
        names = (getattr(k, "key", getattr(k, "idx", getattr(k, "name", k))) for k in path)
        weight = zlib.crc32("/".join(map(str, names)).encode()) | 1
        if leaf.dtype.itemsize > 4:
            raise TypeError(f"{leaf.dtype} cannot be digested: JAX may read it back as another")
        split |= isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
        for index, part in _own_parts(leaf):
            bits = part.view(f"u{part.dtype.itemsize}")
            of_part = int(np.sum(bits * (2 * index + 1), dtype=np.uint32))
            total = (total + weight * of_part) % 2**32
    if split:
        total = int(np.sum(multihost_utils.process_allgather(np.uint32(total)), dtype=np.uint64))
    return total % 2**32


def _own_parts(leaf: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The parts of an array that this process answers for, with each element's place in it."""
    whole = tuple(slice(0, n) for n in leaf.shape)
    if not isinstance(leaf, jax.Array):
        parts = [(whole, leaf)]
    elif leaf.is_fully_replicated and not leaf.is_fully_addressable:
        parts = [(whole, leaf.addressable_data(0))] if is_first() else []
    else:
        parts = [(s.index, s.data) for s in leaf.addressable_shards if s.replica_id == 0]
    for slices, data in parts:
        index = np.zeros((), np.uint32)
        for part, size in zip(slices, leaf.shape, strict=True):
            index = index[..., None] * np.uint32(size)
            index = index + np.arange(*part.indices(size), dtype=np.uint32)
        yield index, np.ascontiguousarray(data)
