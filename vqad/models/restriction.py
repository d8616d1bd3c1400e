"""The subspace restriction module: disturbed codes back to normal."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqad.kernels.pooling import max_pool
from vqad.models.layers import Conv, ConvBlock


class SubspaceRestriction(nn.Module):
    """Without skips, from disturbed codes Q to features F~ (DSR: subspace restriction module)."""

    features: int = 128  # channels of the output, d
    width: int = 128  # channels of the first level; the others have 2 and 4 times as many
    dtype: DTypeLike = jnp.float32  # dtype of the computation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, h, w, d] to float32 [n, h, w, features]; h and w divisible by 4."""
        w = self.width
        x = ConvBlock((w, w), dtype=self.dtype, name="encoder_1")(x)
        x = ConvBlock((2 * w, 2 * w), dtype=self.dtype, name="encoder_2")(max_pool(x))
        x = ConvBlock((4 * w, 4 * w), dtype=self.dtype, name="encoder_3")(max_pool(x))
        x = ConvBlock((2 * w,), upsample=True, dtype=self.dtype, name="up_2")(x)
        x = ConvBlock((2 * w, 2 * w), dtype=self.dtype, name="decoder_2")(x)
        x = ConvBlock((w,), upsample=True, dtype=self.dtype, name="up_1")(x)
        x = ConvBlock((w, w), dtype=self.dtype, name="decoder_1")(x)
        return Conv(self.features, dtype=self.dtype, name="output")(x).astype(jnp.float32)
