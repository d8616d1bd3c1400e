"""Instance normalisation and the relu behind it, as one operation with its own gradient."""

import jax
import jax.numpy as jnp
from jax import lax

from vqad.kernels.choice import choose

_EPSILON = 1e-5


def plain_instance_norm_relu(x: jax.Array) -> jax.Array:
    """What ``instance_norm_relu`` computes."""
    centred = x.astype(jnp.float32)
    centred -= plain_spatial_mean(centred)
    variance = plain_spatial_mean(jnp.square(centred))
    return jax.nn.relu(centred * lax.rsqrt(variance + _EPSILON)).astype(x.dtype)


def instance_norm_relu(x: jax.Array) -> jax.Array:
    """Instance normalisation (no scale, no shift, biased variance, eps 1e-5), then relu.

    Maps [n, h, w, c] to the same shape and dtype; statistics are float32. For the gradient, x and
    its statistics are kept and nothing else.
    """
    return choose(x, plain=plain_instance_norm_relu, default=_norm_relu)


@jax.custom_vjp
def _norm_relu(x: jax.Array) -> jax.Array:
    return _norm_relu_fwd(x)[0]


@jax.jit  # traced once for each shape, which saves a second or two of a start
def _norm_relu_fwd(x: jax.Array) -> tuple[jax.Array, tuple]:
    x32 = x.astype(jnp.float32)
    mean = spatial_mean(x32)
    scale = lax.rsqrt(spatial_mean(jnp.square(x32 - mean)) + _EPSILON)
    y = jnp.maximum((x32 - mean) * scale, 0).astype(x.dtype)
    return y, (x, mean, scale)


@jax.jit  # as above
def _norm_relu_bwd(residuals: tuple, dy: jax.Array) -> tuple[jax.Array]:
    x, mean, scale = residuals
    normed = (x.astype(jnp.float32) - mean) * scale
    g = jnp.where(normed > 0, dy.astype(jnp.float32), 0)
    dx = scale * (g - spatial_mean(g) - normed * spatial_mean(g * normed))
    return (dx.astype(x.dtype),)


_norm_relu.defvjp(_norm_relu_fwd, _norm_relu_bwd)


def plain_spatial_mean(x: jax.Array) -> jax.Array:
    """What ``spatial_mean`` computes."""
    return x.mean((1, 2), keepdims=True)


@jax.jit  # as above
def spatial_mean(x: jax.Array) -> jax.Array:
    """Mean over height and width: float32 [n, h, w, c] to [n, 1, 1, c]."""
    return choose(x, plain=plain_spatial_mean, default=plain_spatial_mean, cpu=_mean_by_products)


def _mean_by_products(x: jax.Array) -> jax.Array:
    # XLA's CPU backend sums slowly: the norm forward and backward took 2.5 times as long with
    # ``mean`` (128 x 128, 16 or 64 channels, two cores).
    n, h, w, _ = x.shape
    highest = {"precision": lax.Precision.HIGHEST}
    rows = jnp.einsum("nhw,nhwc->nhc", jnp.ones((n, h, w), x.dtype), x, **highest)
    means = jnp.einsum("nh,nhc->nc", jnp.ones((n, h), x.dtype), rows, **highest) / (h * w)
    return means[:, None, None]
