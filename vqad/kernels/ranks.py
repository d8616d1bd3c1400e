"""The code of a given rank of distance, exactly, without sorting and for wanted positions alone."""

import jax
import jax.numpy as jnp
from jax import lax

from vqad.kernels import distances
from vqad.kernels.choice import choose

# Bisection reads its distances 32 times, so that a block should stay in a cache.
_DISTANCES_AT_A_TIME = 1 << 20


def plain_select_rank(values: jax.Array, ranks: jax.Array) -> jax.Array:
    """What ``select_rank`` computes, by a sort."""
    found = jnp.take_along_axis(jnp.sort(values, axis=-1), ranks[..., None], axis=-1)
    return jnp.argmax(values == found, axis=-1).astype(jnp.int32)


def select_rank(values: jax.Array, ranks: jax.Array) -> jax.Array:
    """Index int32 [...] of the value of a given rank along the last axis, exactly.

    Of values float32 [..., k], no NaN, and ascending ranks int32 [...] in [0, k); among equal
    values, the first index.
    """
    # The bits of the value are found from the highest down, counting smaller values.
    bits = distances.ordered_bits(values)

    def bisect(i: int, found: jax.Array) -> jax.Array:
        candidate = found | (jnp.uint32(1 << 31) >> i)
        smaller = jnp.sum(bits < candidate[..., None], axis=-1, dtype=jnp.int32)
        return jnp.where(smaller <= ranks, candidate, found)

    with jax.named_scope("bisection"):
        found = lax.fori_loop(0, 32, bisect, jnp.zeros(ranks.shape, jnp.uint32))
    return jnp.argmax(bits == found[..., None], axis=-1).astype(jnp.int32)


def plain_codes_at_ranks(
    features: jax.Array, codes: jax.Array, ranks: jax.Array, wanted: jax.Array
) -> jax.Array:
    """What ``codes_at_ranks`` computes, and as much where it is not wanted."""
    found = plain_select_rank(distances.code_distances(features, codes), ranks)
    return jnp.take(codes, found, axis=0)


def codes_at_ranks(
    features: jax.Array, codes: jax.Array, ranks: jax.Array, wanted: jax.Array
) -> jax.Array:
    """Codes float32 [n, h, w, d] whose distance to each feature has the given rank, where wanted.

    Takes features float [n, h, w, d], codes float32 [k, d], ranks int32 [n, h, w] in [0, k) and
    what is wanted, bool [n, h, w]. Each image's wanted positions are gathered at its front and
    worked on in blocks, until no image of the batch has any left; codes elsewhere are unspecified.
    """
    return choose(
        features, codes, ranks, wanted, plain=plain_codes_at_ranks, default=_codes_in_blocks
    )


def _codes_in_blocks(
    features: jax.Array, codes: jax.Array, ranks: jax.Array, wanted: jax.Array
) -> jax.Array:
    n, h, w, d = features.shape
    size = h * w
    while size % 2 == 0 and n * size * codes.shape[0] > _DISTANCES_AT_A_TIME:
        size //= 2
    features, ranks = features.reshape(n, h * w, d), ranks.reshape(n, h * w)
    wanted = wanted.reshape(n, h * w)
    order = _front(wanted)

    def block(i: int, found: jax.Array) -> jax.Array:
        here = lax.dynamic_slice_in_dim(order, i * size, size, axis=1)
        near, rank = (jax.vmap(lambda a, at: a[at])(a, here) for a in (features, ranks))
        chosen = select_rank(distances.code_distances(near, codes), rank)
        return jax.vmap(lambda a, at, new: a.at[at].set(new))(found, here, chosen)

    with jax.named_scope("blocks"):
        blocks = -(-wanted.sum(1).max() // size)
        found = lax.fori_loop(0, blocks, block, jnp.zeros((n, h * w), jnp.int32))
    return jnp.take(codes, found, axis=0).reshape(n, h, w, d)


def _front(wanted: jax.Array) -> jax.Array:
    """Positions [n, p] of each row, int32, the wanted ones first, without sorting."""
    p = wanted.shape[1]
    first, last = jnp.cumsum(wanted, axis=1), jnp.cumsum(~wanted, axis=1)
    place = jnp.where(wanted, first, first[:, -1:] + last) - 1
    positions = jnp.arange(p, dtype=jnp.int32)
    return jax.vmap(lambda at: jnp.zeros(p, jnp.int32).at[at].set(positions))(place)
