"""The object-specific decoder: restored codes to I_spc."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqad.kernels.pooling import max_pool
from vqad.models.initializers import Initializer
from vqad.models.layers import Conv, ConvBlock, ResidualStack


class ObjectDecoder(nn.Module):
    """concat(up(Q~_lo), Q~_hi) to I_spc (DSR: object-specific decoder)."""

    hiddens: int = 128  # channels of the hidden layers, h
    residual_hiddens: int = 64  # channels inside the residual blocks, r
    residual_layers: int = 2  # number of residual blocks
    bottleneck: int = 64  # channels at the coarsest level
    kernel_init: Initializer | None = None  # initializer of the kernels
    dtype: DTypeLike = jnp.float32  # dtype of the computation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, h/4, w/4, 2d] to float32 [n, h, w, 3]."""
        options: dict[str, Any] = {"kernel_init": self.kernel_init, "dtype": self.dtype}
        c = x.shape[-1]
        x = ConvBlock((c, 2 * c), **options, name="block_1")(x)
        x = ConvBlock((2 * c, 4 * c), **options, name="block_2")(max_pool(x))
        x = Conv(self.bottleneck, kernel_size=1, **options, name="bottleneck")(max_pool(x))
        x = nn.relu(Conv(self.bottleneck, kind="up", **options, name="conv_transpose_1")(x))
        x = nn.relu(Conv(self.bottleneck, kind="up", **options, name="conv_transpose_2")(x))
        x = Conv(self.hiddens, **options, name="conv_1")(x)
        sizes = (self.hiddens, self.residual_hiddens, self.residual_layers)
        x = ResidualStack(*sizes, **options, name="residual_stack")(x)
        x = nn.relu(Conv(self.hiddens // 2, kind="up", **options, name="conv_transpose_3")(x))
        return Conv(3, kind="up", **options, name="conv_transpose_4")(x).astype(jnp.float32)
