"""Losses of the three stages, in float32."""

import jax
import jax.numpy as jnp

_SMOOTH = 1e-5


def mean_squared_error(a: jax.Array, b: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """Mean of weight (a - b)^2, a float32 scalar.

    Of a and b, float [n, h, w, c], and weights float32 [n, h, w, 1] of the positions, 1 if None.
    """
    squares = jnp.square(a.astype(jnp.float32) - b.astype(jnp.float32))
    return squares.mean() if weight is None else jnp.mean(squares * weight)


def focal_loss(probabilities: jax.Array, mask: jax.Array) -> jax.Array:
    """Two-class loss on probabilities float [n, h, w, 2], after softmax (DSR: focal loss).

    With the one-hot target t of the mask float [n, h, w, 1] in {0, 1} clipped to [s, 1 - s], s =
    1e-5, and q = sum(t p) + s, the loss is the mean over pixels of -(1 - q)^2 log q, as in the
    released code. Channel 1 is anomalous.
    """
    p = probabilities.astype(jnp.float32)
    target = jnp.concatenate([1 - mask, mask], axis=-1).astype(jnp.float32)
    q = jnp.sum(jnp.clip(target, _SMOOTH, 1 - _SMOOTH) * p, axis=-1) + _SMOOTH
    return jnp.mean(-((1 - q) ** 2.0) * jnp.log(q))
