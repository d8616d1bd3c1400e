"""Array operations of the networks, written so that XLA compiles them well on every backend.

All of them take and return NHWC arrays and equal PyTorch's operators of the same name to float32
rounding, gradients included.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _valid_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=_DIMENSIONS)


def shift(x: jax.Array, step: int, axis: int) -> jax.Array:
    """Moves x by ``step`` along an axis; zeros come in.

    Of an axis that is split over devices, neighbours exchange ``step`` entries. Slices of a padded
    array say the same, but then every part of it has another size and nothing lies where it is
    needed.
    """
    pad = [(0, 0, 0)] * x.ndim
    pad[axis] = (step, -step, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), pad)


def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of stride 1 that keeps height and width ("same" zero padding).

    A 1x1 kernel becomes a matrix product. A kernel with one or two outputs becomes a matrix product
    to all its taps and a sum of these, shifted, which keeps vector units busy where a convolution
    to two channels does not.

    Args:
      x: [n, h, w, ci].
      kernel: [k, k, ci, co], k odd.

    Returns:
      [n, h, w, co], dtype of x.
    """
    k, _, ci, co = kernel.shape
    if k == 1:
        return jnp.dot(x, kernel.reshape(ci, co))
    if co <= 2:
        return _thin_conv(x, kernel)
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(k // 2, k // 2)] * 2, dimension_numbers=_DIMENSIONS
    )


@jax.custom_vjp
def _thin_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A matrix product to all taps, and their sum, shifted."""
    n, h, w, ci = x.shape
    k, _, _, co = kernel.shape
    taps = jnp.dot(x, kernel.transpose(2, 0, 1, 3).reshape(ci, k * k * co))
    taps = taps.reshape(n, h, w, k, k, co)
    rows = [shift(taps[:, :, :, i], k // 2 - i, 1) for i in range(k)]
    return sum(shift(row[:, :, :, j], k // 2 - j, 2) for row in rows for j in range(k))


def _thin_conv_fwd(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple]:
    return _thin_conv(x, kernel), (x, kernel)


def _thin_conv_bwd(residuals: tuple, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    _, h, w, ci = x.shape
    k, _, _, co = kernel.shape
    # Channels come first while slices are shifted, so that whole rows are copied: 10 ms in place
    # of the 125 of the derived gradient, 128 x 128, 16 to 2 channels, batch 8, two cores.
    barrier = lax.optimization_barrier
    padded = barrier(_pad(barrier(dy.transpose(3, 0, 1, 2)), k // 2, axis=2))
    back = range(k - 1, -1, -1)
    shifted = barrier(
        jnp.stack([padded[:, :, i : i + h, j : j + w] for i in back for j in back])
    ).reshape(k * k * co, -1)
    taps = kernel.transpose(0, 1, 3, 2).reshape(k * k * co, ci)
    dx = lax.dot_general(shifted, taps, (((0,), (0,)), ((), ()))).reshape(x.shape)
    dkernel = jnp.dot(shifted, x.reshape(-1, ci)).reshape(k, k, co, ci)
    return dx, dkernel.transpose(0, 1, 3, 2)


_thin_conv.defvjp(_thin_conv_fwd, _thin_conv_bwd)


def _pad(x: jax.Array, width: int, axis: int) -> jax.Array:
    """Zeros around the axes ``axis`` and ``axis + 1``."""
    return jnp.pad(x, [(width, width) if i in (axis, axis + 1) else (0, 0) for i in range(x.ndim)])


def conv_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """4x4 convolution, stride 2, padding 1, as space-to-depth and a 2x2 convolution.

    Args:
      x: [n, h, w, ci], h and w even.
      kernel: [4, 4, ci, co].

    Returns:
      [n, h/2, w/2, co], dtype of x.
    """
    n, h, w, ci = x.shape
    co = kernel.shape[-1]
    x = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0))).reshape(n, h // 2, 2, w // 2 + 1, 2 * ci)
    # Rows are paired before they are padded, so that a split height is reshaped where it lies.
    odd, even = (jnp.pad(x[:, :, a], ((0, 0), (a, 1 - a), (0, 0), (0, 0))) for a in (1, 0))
    x = jnp.concatenate([odd, even], axis=-1)
    kernel = kernel.reshape(2, 2, 2, 2, ci, co).transpose(0, 2, 1, 3, 4, 5)
    return _valid_conv(x, kernel.reshape(2, 2, 4 * ci, co))


def conv_transpose(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed 4x4 convolution, stride 2, padding 1, as one 2x2 convolution and an interleave.

    Each output pixel sees 2x2 of the kernel's 4x4 taps, one set for each of the four phases; all
    four are computed at once. The weight gradient of XLA's own transposed convolution is far
    slower on CPU.

    Args:
      x: [n, h, w, ci].
      kernel: [4, 4, ci, co], laid out as PyTorch's weight [ci, co, 4, 4] moved to the front.

    Returns:
      [n, 2h, 2w, co], dtype of x.
    """
    n, h, w, ci = x.shape
    co = kernel.shape[-1]
    kernel = kernel[::-1, ::-1].reshape(2, 2, 2, 2, ci, co).transpose(0, 2, 4, 1, 3, 5)
    # The barrier keeps the padding out of the convolution, whose gradient would be slow with it.
    x = lax.optimization_barrier(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
    z = _valid_conv(x, kernel.reshape(2, 2, ci, 4 * co)).reshape(n, h + 1, w + 1, 2, 2, co)
    rows = [jnp.stack([z[:, a : a + h, c : c + w, a, c] for c in (0, 1)], axis=3) for a in (0, 1)]
    return jnp.stack(rows, axis=2).reshape(n, 2 * h, 2 * w, co)


@jax.custom_vjp
def instance_norm_relu(x: jax.Array) -> jax.Array:
    """Instance normalisation (no scale, no shift, biased variance, eps 1e-5), then relu.

    Statistics are float32 whatever the dtype of x.

    Args:
      x: [n, h, w, c].

    Returns:
      [n, h, w, c], dtype of x.
    """
    return _instance_norm_relu(x)[0]


@jax.jit  # traced once for each shape, which saves a second or two of a start
def _spatial_mean(x: jax.Array) -> jax.Array:
    """Mean over height and width, float32 [n, h, w, c] to [n, 1, 1, c]."""

    def by_products(x: jax.Array) -> jax.Array:
        # XLA's CPU backend sums slowly: the norm forward and backward took 2.5 times as long with
        # ``mean`` (128 x 128, 16 or 64 channels, two cores).
        n, h, w, _ = x.shape
        highest = {"precision": lax.Precision.HIGHEST}
        rows = jnp.einsum("nhw,nhwc->nhc", jnp.ones((n, h, w), x.dtype), x, **highest)
        means = jnp.einsum("nh,nhc->nc", jnp.ones((n, h), x.dtype), rows, **highest) / (h * w)
        return means[:, None, None]

    def by_sum(x: jax.Array) -> jax.Array:
        return x.mean((1, 2), keepdims=True)

    return lax.platform_dependent(x, cpu=by_products, default=by_sum)


@jax.jit  # as above
def _instance_norm_relu(x: jax.Array) -> tuple[jax.Array, tuple]:
    x32 = x.astype(jnp.float32)
    mean = _spatial_mean(x32)
    scale = lax.rsqrt(_spatial_mean(jnp.square(x32 - mean)) + 1e-5)
    y = jnp.maximum((x32 - mean) * scale, 0).astype(x.dtype)
    return y, (x, mean, scale)


@jax.jit  # as above
def _instance_norm_relu_bwd(residuals: tuple, dy: jax.Array) -> tuple[jax.Array]:
    x, mean, scale = residuals
    normed = (x.astype(jnp.float32) - mean) * scale
    g = jnp.where(normed > 0, dy.astype(jnp.float32), 0)
    dx = scale * (g - _spatial_mean(g) - normed * _spatial_mean(g * normed))
    return (dx.astype(x.dtype),)


instance_norm_relu.defvjp(_instance_norm_relu, _instance_norm_relu_bwd)


def _quarters(x: jax.Array) -> list[jax.Array]:
    n, h, w, c = x.shape
    x = x.reshape(n, h // 2, 2, w // 2, 2, c)
    return [x[:, :, i, :, j] for i in (0, 1) for j in (0, 1)]


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    """2x2 max pooling, stride 2; among equal values the first one gets the gradient, as in PyTorch.

    Args:
      x: [n, h, w, c], h and w even.

    Returns:
      [n, h/2, w/2, c].
    """
    return functools.reduce(jnp.maximum, _quarters(x))


def _max_pool_fwd(x: jax.Array) -> tuple[jax.Array, tuple]:
    y = max_pool(x)
    return y, (x, y)


def _max_pool_bwd(residuals: tuple, dy: jax.Array) -> tuple[jax.Array]:
    x, y = residuals
    taken = jnp.zeros(y.shape, bool)
    parts = []
    for quarter in _quarters(x):
        hit = (quarter == y) & ~taken
        taken |= hit
        parts.append(jnp.where(hit, dy, 0))
    rows = [jnp.stack(parts[i : i + 2], axis=3) for i in (0, 2)]
    return (jnp.stack(rows, axis=2).reshape(x.shape),)


max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)
