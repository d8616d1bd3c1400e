"""Layers that the networks share: convolutions, normalised blocks, the residual stack."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqad.kernels import convolutions
from vqad.kernels.bilinear import upsample_conv
from vqad.kernels.normalization import instance_norm_relu
from vqad.models.initializers import Initializer, torch_default


class Conv(nn.Module):
    """Convolution on NHWC that keeps height and width, halves them or doubles them."""

    features: int  # output channels
    # Kernel side for ``same`` (odd); ``down`` and ``up`` are 4x4, stride 2, padding 1.
    kernel_size: int = 3
    # ``same``, ``down`` (strided), ``up`` (transposed) or ``bilinear`` (3x3 after bilinear 2x
    # upsampling).
    kind: str = "same"
    use_bias: bool = True  # whether the layer has a bias
    # Whether the bias is added. An instance norm behind the layer removes any bias, so it is only
    # kept there, for checkpoints' sake.
    add_bias: bool = True
    kernel_init: Initializer | None = None  # initializer of the kernel; PyTorch's default if None
    dtype: DTypeLike = jnp.float32  # dtype of the computation; parameters are float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, h, w, ci] to [n, h', w', features]."""
        size, apply = {
            "same": (self.kernel_size, convolutions.conv),
            "down": (4, convolutions.conv_down),
            "up": (4, convolutions.conv_transpose),
            "bilinear": (3, upsample_conv),
        }[self.kind]
        # PyTorch counts the fan-in of a transposed convolution over its outputs.
        channels = self.features if self.kind == "up" else x.shape[-1]
        default_init = torch_default(size * size * channels)
        shape = (size, size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init or default_init, shape, jnp.float32)
        y = apply(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", default_init, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype) if self.add_bias else y
        return y


class ConvBlock(nn.Module):
    """[conv 3x3, instance norm, relu], once for each entry of ``features``."""

    features: tuple[int, ...]  # output channels of each convolution
    upsample: bool = False  # whether bilinear 2x upsampling comes first
    kernel_init: Initializer | None = None  # initializer of the kernels; PyTorch's default if None
    dtype: DTypeLike = jnp.float32  # dtype of the computation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, h, w, ci] to [n, h, w, features[-1]], or twice the size with ``upsample``."""
        for i, features in enumerate(self.features, 1):
            conv = Conv(
                features,
                kind="bilinear" if self.upsample and i == 1 else "same",
                add_bias=False,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"conv_{i}",
            )
            x = instance_norm_relu(conv(x))
        return x


class ResidualBlock(nn.Module):
    """``x = relu(x); x + conv1x1(relu(conv3x3(x)))``: the skip carries the rectified input.

    Attributes as of ``ResidualStack``.
    """

    hiddens: int
    residual_hiddens: int
    kernel_init: Initializer | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, h, w, hiddens] to the same shape."""
        options: dict[str, Any] = {
            "use_bias": False,
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
        }
        x = nn.relu(x)
        y = nn.relu(Conv(self.residual_hiddens, name="conv_1", **options)(x))
        return x + Conv(self.hiddens, kernel_size=1, name="conv_2", **options)(y)


class ResidualStack(nn.Module):
    """Residual blocks and a last relu."""

    hiddens: int  # channels of input and output
    residual_hiddens: int  # channels inside each block
    layers: int  # number of blocks
    kernel_init: Initializer | None = None  # initializer of the kernels; PyTorch's default if None
    dtype: DTypeLike = jnp.float32  # dtype of the computation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, h, w, hiddens] to the same shape, values >= 0."""
        for i in range(self.layers):
            sizes = (self.hiddens, self.residual_hiddens)
            x = ResidualBlock(*sizes, self.kernel_init, self.dtype, name=f"layer_{i}")(x)
        return nn.relu(x)


class Coder(nn.Module):
    """What the encoders and the general decoder of the discrete autoencoder share."""

    hiddens: int  # channels of the hidden layers, h
    residual_hiddens: int  # channels inside the residual blocks, r
    residual_layers: int  # number of residual blocks
    dtype: DTypeLike = jnp.float32  # dtype of the computation

    @nn.nowrap
    def _conv(self, features: int, name: str, kind: str = "same") -> Conv:
        return Conv(features, kind=kind, dtype=self.dtype, name=name)

    @nn.nowrap
    def _stack(self) -> ResidualStack:
        sizes = (self.hiddens, self.residual_hiddens, self.residual_layers)
        return ResidualStack(*sizes, dtype=self.dtype, name="residual_stack")
