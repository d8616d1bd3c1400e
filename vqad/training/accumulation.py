"""A batch worked on in parts, for batches whose activations do not fit the memory at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def split_batch(tree: Any, parts: int) -> Any:
    """Arrays [n, ...] to [parts, n/parts, ...]."""
    return jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), tree)


def join_batch(tree: Any) -> Any:
    """The inverse of ``split_batch``."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), tree)


def over_parts(
    function: Callable[[Any], tuple[Any, Any]], inputs: Any, parts: int
) -> tuple[Any, Any]:
    """Applies a function to a batch in parts, one after the other.

    Args:
      function: inputs [m, ...] to a tree of float arrays that are means over the images, and a tree
        of arrays [m, ...].
      inputs: tree of arrays [n, ...].
      parts: how many parts; divides n.

    Returns:
      What the function gives for the whole batch, up to rounding.
    """
    if parts == 1:
        return function(inputs)

    def add(total: Any, part: Any) -> tuple[Any, Any]:
        means, rows = function(part)
        return jax.tree.map(jnp.add, total, means), rows

    split = split_batch(inputs, parts)
    shapes = jax.eval_shape(function, jax.tree.map(lambda a: a[0], split))[0]
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    total, rows = jax.lax.scan(add, zeros, split)
    return jax.tree.map(lambda a: a / parts, total), join_batch(rows)
