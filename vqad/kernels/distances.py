"""Distances between features and codes, in blocks, and the nearest code."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from vqad.kernels.choice import choose

_DISTANCES_AT_A_TIME = 1 << 24
# What stays in a cache while it is searched: 4096 positions among 4096 codes took 34 ms in place of
# 80 (two cores).
_DISTANCES_IN_CACHE = 1 << 20


def over_columns(
    function: Callable[..., jax.Array], elements: int, limit: int, *arrays: jax.Array
) -> jax.Array:
    """Applies a function to blocks of columns of feature maps, so that its memory stays bounded.

    From arrays [n, h, r, ...] it makes one, position by position, each of which needs some
    ``elements``; as many columns are worked on as keep within the ``limit``, at least one. Blocks
    are cut along the width: batch and height may be split over devices. A batch of unknown size, as
    in an exported program, is worked on image by image.
    """
    n, h, w = arrays[0].shape[:3]
    if not isinstance(n, int):

        def of_one(image: list[jax.Array]) -> jax.Array:
            return over_columns(function, elements, limit, *(a[None] for a in image))[0]

        return lax.map(of_one, list(arrays))
    columns = max(1, limit // max(1, n * h * elements))
    if columns >= w:
        return function(*arrays)
    count = -(-w // columns)
    columns = -(-w // count)  # of about one size, so that the last is not mostly padding

    def cut(a: jax.Array) -> jax.Array:
        a = jnp.pad(a, [(0, count * columns - w if axis == 2 else 0) for axis in range(a.ndim)])
        return jnp.moveaxis(a.reshape(n, h, count, columns, *a.shape[3:]), 2, 0)

    with jax.named_scope("blocks"):
        found = jnp.moveaxis(
            lax.map(lambda block: function(*block), [cut(a) for a in arrays]), 0, 2
        )
    return found.reshape(n, h, count * columns, *found.shape[4:])[:, :, :w]


def plain_nearest_code(features: jax.Array, codes: jax.Array) -> jax.Array:
    """What ``nearest_code`` computes."""
    return jnp.argmin(code_distances(features, codes), axis=-1).astype(jnp.int32)


def nearest_code(features: jax.Array, codes: jax.Array) -> jax.Array:
    """Index int32 [n, h, w] of the code nearest to features [n, h, w, d], of codes [k, d].

    By squared L2 distance; the first among equally near ones.
    """
    return choose(
        features,
        codes,
        plain=plain_nearest_code,
        default=functools.partial(_nearest_in_blocks, limit=_DISTANCES_AT_A_TIME),
        cpu=functools.partial(_nearest_in_blocks, limit=_DISTANCES_IN_CACHE),
    )


def _nearest_in_blocks(features: jax.Array, codes: jax.Array, limit: int) -> jax.Array:
    def nearest(features: jax.Array) -> jax.Array:
        # Unlike argmin, minima of integers make vector instructions on CPU.
        bits, size = ordered_bits(code_distances(features, codes)), codes.shape[0]
        found = jnp.where(bits == bits.min(-1, keepdims=True), jnp.arange(size), size)
        return found.min(-1).astype(jnp.int32)

    return over_columns(nearest, codes.shape[0], limit, features)


def ordered_bits(x: jax.Array) -> jax.Array:
    """uint32 in the same order as the float32 values."""
    bits = lax.bitcast_convert_type(x, jnp.uint32)
    sign = jnp.uint32(1 << 31)
    return jnp.where(bits >= sign, ~bits, bits | sign)


def code_distances(features: jax.Array, codes: jax.Array) -> jax.Array:
    """Squared L2 distances float32 [..., k] of features [..., d] to all codes [k, d].

    The features' own squared norm, the same for all codes, is left out: it changes no order.
    """
    features, codes = features.astype(jnp.float32), codes.astype(jnp.float32)
    # What all codes share would cancel, and take the digits that tell near codes apart with it.
    center = codes.mean(0)
    features, codes = features - center, codes - center
    products = jnp.matmul(features, codes.T, precision=lax.Precision.HIGHEST)
    return jnp.square(codes).sum(-1) - 2 * products
