"""A number that tells whether arrays came back from a disk as they went there."""

import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def digest(tree: Any) -> int:
    """Digests the bits of all arrays of a tree, with their places in it.

    A sum of all bits as whole numbers, weighted by odd numbers, modulo 2^32: any one changed bit
    shows, and arrays may be split over devices and processes in any way. Arrays are NumPy's or
    JAX's; a TypeError is raised for elements of more than 4 bytes.
    """
    total, split = 0, False
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        # Orbax gives some containers back as others; the names in them stay.
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        weight = zlib.crc32(name.encode()) | 1
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
    places = np.arange(leaf.size, dtype=np.uint32).reshape(leaf.shape)
    if not isinstance(leaf, jax.Array):
        parts = [((), leaf)]
    elif leaf.is_fully_replicated and not leaf.is_fully_addressable:
        parts = [((), leaf.addressable_data(0))] if jax.process_index() == 0 else []
    else:
        parts = [(s.index, s.data) for s in leaf.addressable_shards if s.replica_id == 0]
    for index, data in parts:
        yield places[index], np.ascontiguousarray(data)
