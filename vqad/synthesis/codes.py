"""Feature anomalies: codes replaced by others at a drawn rank of distance (DSR, section 3)."""

import jax
import jax.numpy as jnp
from jax import lax

from vqad.models import distances

# Bisection reads its distances 32 times, so that a block should stay in a cache.
_DISTANCES_AT_A_TIME = 1 << 20


def draw_ranks(uniform: jax.Array, strength: jax.Array, num_codes: int) -> jax.Array:
    """Ranks of distance, uniform among those that the strength allows.

    With K codes and strength s the ranks are [floor(0.05 K), max(1, min(floor(s K) + 1, K - 1))).

    Args:
      uniform: float32 [n, ...] in [0, 1).
      strength: float32 [n] in (0, 1].
      num_codes: K.

    Returns:
      int32 like ``uniform``; rank 0 is the nearest code.

    Example:
      >>> draws = jnp.array([[0.0, 0.999]])
      >>> draw_ranks(draws, jnp.array([0.5]), num_codes=100).tolist()  # of 5 to 50
      [[5, 50]]
    """
    nearest = int(0.05 * num_codes)
    farthest = jnp.maximum(1, jnp.minimum(jnp.floor(strength * num_codes) + 1, num_codes - 1))
    count = jnp.maximum(farthest - nearest, 1).reshape(-1, *[1] * (uniform.ndim - 1))
    return (nearest + jnp.minimum(jnp.floor(uniform * count), count - 1)).astype(jnp.int32)


def select_rank(values: jax.Array, ranks: jax.Array) -> jax.Array:
    """Index of the value of a given rank along the last axis, exactly and without sorting.

    Bisects the bits of the rank-th value from the highest down, counting the smaller values each
    time.

    Args:
      values: float32 [..., k], no NaN.
      ranks: int32 [...], rank in ascending order, in [0, k).

    Returns:
      int32 [...]. Among equal values, the first index.
    """
    bits = distances.ordered_bits(values)

    def bisect(i: int, found: jax.Array) -> jax.Array:
        candidate = found | (jnp.uint32(1 << 31) >> i)
        smaller = jnp.sum(bits < candidate[..., None], axis=-1, dtype=jnp.int32)
        return jnp.where(smaller <= ranks, candidate, found)

    with jax.named_scope("bisection"):
        found = lax.fori_loop(0, 32, bisect, jnp.zeros(ranks.shape, jnp.uint32))
    return jnp.argmax(bits == found[..., None], axis=-1).astype(jnp.int32)


def codes_at_ranks(
    features: jax.Array, codes: jax.Array, ranks: jax.Array, wanted: jax.Array
) -> jax.Array:
    """Codes whose distance to each feature vector has the given rank, where they are wanted.

    Each image's wanted positions are gathered at its front and worked on in blocks, until no image
    of the batch has any left: time grows with the largest wanted share, memory with neither image
    area times codes nor batch. Nothing but the number of blocks passes between images, so that the
    batch axis may be sharded over devices.

    Args:
      features: float [n, h, w, d].
      codes: float32 [k, d].
      ranks: int32 [n, h, w] in [0, k).
      wanted: bool [n, h, w].

    Returns:
      float32 [n, h, w, d], unspecified codes where none is wanted.
    """
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


def pool_mask(mask: jax.Array, factor: int) -> jax.Array:
    """Max-pools a mask.

    Args:
      mask: float [n, h, w, 1].
      factor: divisor of h and w.

    Returns:
      float [n, h/factor, w/factor, 1].
    """
    n, h, w, c = mask.shape
    return mask.reshape(n, h // factor, factor, w // factor, factor, c).max((2, 4))


def dilate(mask: jax.Array) -> jax.Array:
    """Maximum over 3 x 3 positions.

    Args:
      mask: float [n, h, w, c] in {0, 1}.

    Returns:
      float [n, h, w, c].
    """
    return lax.reduce_window(mask, 0.0, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")


def replace_codes(
    features: jax.Array, values: jax.Array, codes: jax.Array, mask: jax.Array, ranks: jax.Array
) -> jax.Array:
    """Replaces the codes under a mask.

    Args:
      features: F, float [n, h, w, d], around which codes are ranked.
      values: Q, float32 [n, h, w, d], kept where the mask is 0.
      codes: the codebook, float32 [k, d].
      mask: float [n, f h, f w, 1] in {0, 1}; max-pooled to the feature grid.
      ranks: int32 [n, h, w].

    Returns:
      float32 [n, h, w, d].
    """
    wanted = pool_mask(mask, mask.shape[1] // features.shape[1]) > 0
    return jnp.where(wanted, codes_at_ranks(features, codes, ranks, wanted[..., 0]), values)


def target_mask(mask: jax.Array, lo_disturbed: jax.Array) -> jax.Array:
    """The detector's target: the mask at the resolution of the coarsest disturbed grid.

    Args:
      mask: float [n, h, w, 1] in {0, 1}.
      lo_disturbed: bool [n], whether an image's lo codes were disturbed (else only the hi ones).

    Returns:
      float [n, h, w, 1]: max-pooled 8x (lo) or 4x (hi) and repeated back to full size.
    """

    def coarse(factor: int) -> jax.Array:
        return pool_mask(mask, factor).repeat(factor, 1).repeat(factor, 2)

    return jnp.where(lo_disturbed[:, None, None, None], coarse(8), coarse(4))
