"""The networks in operations that every runtime has, for formats that know no others.

``vqad.models`` writes convolutions, norms and the search of codes so that XLA compiles them well,
with branches for platforms and rules for gradients. Here they are what they mean: a convolution is
one convolution. The numbers are the same to float32 rounding; nothing here is trained.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vqad.kernels import distances
from vqad.models.layers import Conv, ConvBlock
from vqad.models.quantizer import Quantized, VectorQuantizer

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls float32 networks, with their layers replaced by plain ones."""

    def call(*args: Any) -> Any:
        with nn.intercept_methods(_layer):
            return function(*args)

    return call


def _layer(
    original: Callable[..., Any],
    args: tuple,
    kwargs: Mapping,
    context: nn.module.InterceptorContext,
) -> Any:
    module = context.module
    if context.method_name == "__call__" and isinstance(module, Conv):
        params = module.variables["params"]
        y = _conv(args[0], params["kernel"], module.kind)
        return y + params["bias"] if module.use_bias and module.add_bias else y
    if context.method_name == "__call__" and isinstance(module, ConvBlock):
        x, params = args[0], module.variables["params"]
        for i in range(1, len(module.features) + 1):
            kind = "bilinear" if module.upsample and i == 1 else "same"
            x = _instance_norm_relu(_conv(x, params[f"conv_{i}"]["kernel"], kind))
        return x
    if context.method_name == "__call__" and isinstance(module, VectorQuantizer):
        table = module.codes.value
        codes = jnp.argmin(distances.code_distances(args[0], table), axis=-1).astype(jnp.int32)
        return quantized(table, codes)
    return original(*args, **kwargs)


def quantized(table: jax.Array, codes: jax.Array) -> Quantized:
    """What a quantizer returns for codes int32 [n, h, w] from its table [k, d].

    Of its figures for training, none is there: they are zero.
    """
    zero = jnp.zeros(())
    return Quantized(jnp.take(table, codes, axis=0, mode="clip"), codes, zero, zero, zero)


def _conv(x: jax.Array, kernel: jax.Array, kind: str) -> jax.Array:
    """The convolutions of ``vqad.models.layers.Conv``, by their kind."""
    stride, edge = (2, 1) if kind == "down" else (1, kernel.shape[0] // 2)
    if kind == "up":
        return _conv_transpose(x, kernel)
    if kind == "bilinear":
        x = jnp.einsum("ih,nhwc->niwc", _upsampling(x.shape[1]), x)
        x = jnp.einsum("jw,niwc->nijc", _upsampling(x.shape[2]), x)
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(edge, edge)] * 2, dimension_numbers=_DIMENSIONS
    )


def _conv_transpose(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As ``vqad.kernels.ops.conv_transpose``: one 2x2 convolution to four phases, interleaved."""
    n, h, w, ci = x.shape
    co = kernel.shape[-1]
    kernel = kernel[::-1, ::-1].reshape(2, 2, 2, 2, ci, co).transpose(0, 2, 4, 1, 3, 5)
    phases = lax.conv_general_dilated(
        x, kernel.reshape(2, 2, ci, 4 * co), (1, 1), [(1, 1)] * 2, dimension_numbers=_DIMENSIONS
    )

    def phase(row: int, column: int) -> jax.Array:
        first = (2 * row + column) * co
        found = lax.slice_in_dim(phases, first, first + co, axis=3)
        found = lax.slice_in_dim(found, row, row + h, axis=1)
        return lax.slice_in_dim(found, column, column + w, axis=2)

    rows = [lax.concatenate([phase(row, 0), phase(row, 1)], 3) for row in (0, 1)]
    rows = [row.reshape(n, h, 1, 2 * w, co) for row in rows]
    return lax.concatenate(rows, 2).reshape(n, 2 * h, 2 * w, co)


def _instance_norm_relu(x: jax.Array) -> jax.Array:
    x = x - x.mean((1, 2), keepdims=True)
    return jnp.maximum(x * lax.rsqrt(jnp.square(x).mean((1, 2), keepdims=True) + 1e-5), 0)


def _upsampling(size: int) -> np.ndarray:
    """Bilinear 2x upsampling with aligned corners as a matrix [2 size, size]."""
    matrix = np.zeros((2 * size, size), np.float32)
    for i in range(2 * size):
        at = i * (size - 1) / (2 * size - 1)
        below = min(int(at), size - 1)
        matrix[i, below] += 1 - (at - below)
        matrix[i, min(below + 1, size - 1)] += at - below
    return matrix
