"""Bilinear 2x upsampling and the convolution behind it, as one operation.

Upsampling does not mix channels, so it commutes with the products of a convolution: each tap's
product is made at the small size, with about a quarter of the arithmetic (more for images of a few
pixels, because of their padding), and the products are then interpolated and summed. Along one axis
of n pixels, aligned corners mean::

    up(z)[2k]     = (1 - e[k]) z[k] + e[k] z[k - 1]      e[k] = k / (2n - 1)
    up(z)[2k + 1] = (1 - o[k]) z[k] + o[k] z[k + 1]      o[k] = (n - 1 - k) / (2n - 1)

and a convolution with taps 0, 1, 2 sums up(z_0)[j - 1] + up(z_1)[j] + up(z_2)[j + 1], with zeros
outside. Three products of small size are thus a stencil away from the even and odd outputs.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vqad.kernels.choice import choose
from vqad.kernels.convolutions import plain_conv, shift

# XLA's CPU backend would otherwise fuse a stencil into the interleaving behind it, element by
# element: 15 ms in place of 5 forward, 64 x 64 to 128 x 128, 32 to 16 channels, batch 8, two cores.
# Not measured on accelerators.
_barrier = lax.optimization_barrier


class _Weights(NamedTuple):
    """Interpolation weights along an axis, shaped to broadcast; see the module's docstring."""

    e: np.ndarray  # weight of the neighbour before in an even output
    o: np.ndarray  # weight of the neighbour behind in an odd output
    before_far: np.ndarray  # weight of z[k - 1] in up(z)[2k - 1], zero at the edge
    before_near: np.ndarray  # weight of z[k] in up(z)[2k - 1], zero at the edge
    behind_far: np.ndarray  # weight of z[k + 1] in up(z)[2k + 2], zero at the edge
    behind_near: np.ndarray  # weight of z[k] in up(z)[2k + 2], zero at the edge


def _weights(size: int, axis: int) -> _Weights:
    # NumPy's, so that they are constants of the program.
    k = np.arange(size, dtype=jnp.float32)
    whole = 2 * size - 1
    values = _Weights(
        e=k / whole,
        o=(size - 1 - k) / whole,
        before_far=np.where(k == 0, 0, (size - 1 + k) / whole),
        before_near=np.where(k == 0, 0, (size - k) / whole),
        behind_far=np.where(k == size - 1, 0, (2 * size - 2 - k) / whole),
        behind_near=np.where(k == size - 1, 0, (k + 1) / whole),
    )
    shape = [1] * 4
    shape[axis] = size
    return _Weights(*(v.astype(k.dtype).reshape(shape) for v in values))


def _interpolate(at: Callable[[int, int], jax.Array], size: int, axis: int) -> jax.Array:
    """Sum of the upsampled, shifted taps along an axis of n pixels, 1 or 2; it has 2n pixels then.

    ``at`` gives of a tap and a step of -1, 0 or 1 what is that far from each pixel along ``axis``,
    zero outside: float32 arrays of four axes.
    """
    w = _weights(size, axis)
    even = w.before_far * at(0, -1) + w.before_near * at(0, 0)
    even += w.e * at(1, -1) + (1 - w.e) * at(1, 0) + (1 - w.o) * at(2, 0) + w.o * at(2, 1)
    odd = w.e * at(0, -1) + (1 - w.e) * at(0, 0) + (1 - w.o) * at(1, 0) + w.o * at(1, 1)
    odd += w.behind_near * at(2, 0) + w.behind_far * at(2, 1)
    shape = list(even.shape)
    shape[axis] *= 2
    return jnp.stack(_barrier((even, odd)), axis=axis + 1).reshape(shape)


def _interpolate_adjoint(dy: jax.Array, axis: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of the three unpadded taps, given that of ``_interpolate``'s output."""
    size = dy.shape[axis] // 2
    pairs = dy.reshape(*dy.shape[:axis], size, 2, *dy.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    w = _weights(size, axis)

    def from_behind(x: jax.Array) -> jax.Array:
        return shift(x, -1, axis)

    def from_before(x: jax.Array) -> jax.Array:
        return shift(x, 1, axis)

    a = w.before_near * even + from_behind(w.before_far * even)
    a += (1 - w.e) * odd + from_behind(w.e * odd)
    b = (1 - w.e) * even + from_behind(w.e * even) + (1 - w.o) * odd + from_before(w.o * odd)
    c = (1 - w.o) * even + from_before(w.o * even)
    c += w.behind_near * odd + from_before(w.behind_far * odd)
    return a, b, c


def _columns(kernel: jax.Array) -> list[jax.Array]:
    """The kernel [3, 3, ci, co] as one matrix [ci, 3 co] for each of its columns."""
    ci, co = kernel.shape[2:]
    return [kernel[:, j].transpose(1, 0, 2).reshape(ci, 3 * co) for j in range(3)]


def plain_upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """What ``upsample_conv`` computes, upsampling as products with matrices of weights."""

    def weights(size: int) -> np.ndarray:
        at = np.linspace(0, size - 1, 2 * size)
        rows = [np.interp(at, np.arange(size), row) for row in np.eye(size)]
        return np.stack(rows).astype(jnp.float32)

    x32, (h, w) = x.astype(jnp.float32), x.shape[1:3]
    x32 = jnp.einsum("hi,nhwc->niwc", weights(h), x32)
    x32 = jnp.einsum("wj,niwc->nijc", weights(w), x32)
    return plain_conv(x32, kernel.astype(jnp.float32)).astype(x.dtype)


def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Bilinear 2x upsampling with aligned corners, then a 3x3 convolution with zero padding.

    Maps [n, h, w, ci] by [3, 3, ci, co] to [n, 2h, 2w, co], dtype of x; products are summed and
    interpolated in float32 whatever that is.
    """
    return choose(x, kernel, plain=plain_upsample_conv, default=_conv_then_upsample)


@jax.custom_vjp
def _conv_then_upsample(x: jax.Array, kernel: jax.Array) -> jax.Array:
    h, w = x.shape[1:3]
    padded = _barrier(jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0))))
    products = [
        jnp.dot(padded, column, preferred_element_type=jnp.float32) for column in _columns(kernel)
    ]

    def along_width(tap: int, step: int) -> jax.Array:
        return lax.slice_in_dim(products[tap], 1 + step, 1 + step + w, axis=2)

    rows = jnp.split(_barrier(_interpolate(along_width, w, axis=2)), 3, axis=-1)
    return _interpolate(lambda tap, step: shift(rows[tap], -step, 1), h, axis=1).astype(x.dtype)


def _conv_then_upsample_bwd(residuals: tuple, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    ci, co = kernel.shape[2:]
    dy = dy.astype(jnp.float32)
    rows = _barrier(jnp.concatenate(_barrier(_interpolate_adjoint(dy, axis=1)), axis=-1))
    columns = _barrier(tuple(d.astype(x.dtype) for d in _interpolate_adjoint(rows, axis=2)))
    dx = sum(jnp.dot(d, k.T) for d, k in zip(columns, _columns(kernel), strict=True))
    dkernel = [jnp.einsum("nhwi,nhwo->io", x, d).reshape(ci, 3, co) for d in columns]
    return dx, jnp.stack(dkernel).transpose(2, 0, 1, 3)


_conv_then_upsample.defvjp(
    lambda *args: (_conv_then_upsample(*args), args), _conv_then_upsample_bwd
)
