"""Convolutions on NHWC arrays, equal to PyTorch's of the same sizes, gradients included."""

import jax
import jax.numpy as jnp
from jax import lax

from vqad.kernels.choice import choose

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def shift(x: jax.Array, step: int, axis: int) -> jax.Array:
    """Moves x by ``step`` along an axis; zeros come in.

    Of an axis that is split over devices, neighbours exchange ``step`` entries. Slices of a padded
    array say the same, but then its parts have other sizes and nothing lies where it is needed.
    """
    pad = [(0, 0, 0)] * x.ndim
    pad[axis] = (step, -step, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), pad)


def plain_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """What ``conv`` computes."""
    edge = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(edge, edge)] * 2, dimension_numbers=_LAYOUT
    )


def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of stride 1 that keeps height and width ("same" zero padding).

    A 1x1 kernel becomes a matrix product: on CPU faster forward on small maps and in bfloat16,
    slower in the gradient of float32. A kernel with one or two outputs becomes a matrix product to
    all its taps and a sum of these, shifted, which keeps vector units busy where a convolution to
    two channels does not.

    Maps [n, h, w, ci] by [k, k, ci, co], k odd, to [n, h, w, co], dtype of x.
    """
    k, _, _, co = kernel.shape
    fast = _pointwise_conv if k == 1 else _thin_conv if co <= 2 else plain_conv
    return choose(x, kernel, plain=plain_conv, default=fast)


def _pointwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.dot(x, kernel.reshape(kernel.shape[2:]))


@jax.custom_vjp
def _thin_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A matrix product to all taps, and their sum, shifted."""
    n, h, w, ci = x.shape
    k, _, _, co = kernel.shape
    taps = jnp.dot(x, kernel.transpose(2, 0, 1, 3).reshape(ci, k * k * co))
    taps = taps.reshape(n, h, w, k, k, co)
    rows = [shift(taps[:, :, :, i], k // 2 - i, 1) for i in range(k)]
    return sum(shift(row[:, :, :, j], k // 2 - j, 2) for row in rows for j in range(k))


def _thin_conv_bwd(residuals: tuple, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    _, h, w, ci = x.shape
    k, _, _, co = kernel.shape
    # Channels come first while slices are shifted, so that whole rows are copied: 10 ms in place
    # of the 125 of the derived gradient, 128 x 128, 16 to 2 channels, batch 8, two cores.
    barrier = lax.optimization_barrier
    edges = [(0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)]
    padded = barrier(jnp.pad(barrier(dy.transpose(3, 0, 1, 2)), edges))
    back = range(k - 1, -1, -1)
    shifted = barrier(
        jnp.stack([padded[:, :, i : i + h, j : j + w] for i in back for j in back])
    ).reshape(k * k * co, -1)
    taps = kernel.transpose(0, 1, 3, 2).reshape(k * k * co, ci)
    dx = lax.dot_general(shifted, taps, (((0,), (0,)), ((), ()))).reshape(x.shape)
    dkernel = jnp.dot(shifted, x.reshape(-1, ci)).reshape(k, k, co, ci)
    return dx, dkernel.transpose(0, 1, 3, 2)


_thin_conv.defvjp(lambda *args: (_thin_conv(*args), args), _thin_conv_bwd)


def plain_conv_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """What ``conv_down`` computes."""
    return lax.conv_general_dilated(x, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=_LAYOUT)


def conv_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """4x4 convolution, stride 2, padding 1, as space-to-depth and a 2x2 convolution.

    Maps [n, h, w, ci], h and w even, by [4, 4, ci, co] to [n, h/2, w/2, co], dtype of x.
    """
    return choose(x, kernel, plain=plain_conv_down, default=_space_to_depth_conv)


def _space_to_depth_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    n, h, w, ci = x.shape
    co = kernel.shape[-1]
    x = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0))).reshape(n, h // 2, 2, w // 2 + 1, 2 * ci)
    # Rows are paired before they are padded, so that a split height is reshaped where it lies.
    odd, even = (jnp.pad(x[:, :, a], ((0, 0), (a, 1 - a), (0, 0), (0, 0))) for a in (1, 0))
    x = jnp.concatenate([odd, even], axis=-1)
    kernel = kernel.reshape(2, 2, 2, 2, ci, co).transpose(0, 2, 1, 3, 4, 5)
    kernel = kernel.reshape(2, 2, 4 * ci, co)
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=_LAYOUT)


def plain_conv_transpose(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """What ``conv_transpose`` computes: zeros between pixels, then the kernel turned round."""
    return lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), [(2, 2)] * 2, lhs_dilation=(2, 2), dimension_numbers=_LAYOUT
    )


def conv_transpose(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed 4x4 convolution, stride 2, padding 1, as one 2x2 convolution and an interleave.

    Each output pixel sees 2x2 of the kernel's 4x4 taps, one set for each of the four phases; all
    four are computed at once. The weight gradient of XLA's own transposed convolution is far
    slower on CPU. jax2onnx gives a dilated input the wrong stride.

    Maps [n, h, w, ci] by [4, 4, ci, co], PyTorch's weight [ci, co, 4, 4] with its last axes first,
    to [n, 2h, 2w, co], dtype of x.
    """
    return choose(x, kernel, plain=plain_conv_transpose, default=_split_transpose, onnx=_in_phases)


def _split_transpose(x: jax.Array, kernel: jax.Array) -> jax.Array:
    # The barrier keeps the padding out of the convolution, whose gradient would be slow with it.
    x = lax.optimization_barrier(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
    return _in_phases(x, kernel, edge=0)


def _in_phases(x: jax.Array, kernel: jax.Array, edge: int = 1) -> jax.Array:
    """The four phases and the interleave, with ``edge`` of the one pixel of padding to be added."""
    n, h, w, ci = x.shape
    h, w, co = h - 2 + 2 * edge, w - 2 + 2 * edge, kernel.shape[-1]
    kernel = kernel[::-1, ::-1].reshape(2, 2, 2, 2, ci, co).transpose(0, 2, 4, 1, 3, 5)
    kernel = kernel.reshape(2, 2, ci, 4 * co)
    z = lax.conv_general_dilated(x, kernel, (1, 1), [(edge, edge)] * 2, dimension_numbers=_LAYOUT)
    rows = []  # of slices and concatenations alone, which jax2onnx knows
    for a in (0, 1):
        phases = [z[:, a : a + h, c : c + w, (2 * a + c) * co :][..., :co] for c in (0, 1)]
        rows.append(jnp.concatenate(phases, axis=-1).reshape(n, h, 1, 2 * w, co))
    return jnp.concatenate(rows, axis=2).reshape(n, 2 * h, 2 * w, co)
