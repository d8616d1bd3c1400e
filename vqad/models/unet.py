"""The U-Net with skips: anomaly detector and upsampler."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqad.kernels.pooling import max_pool
from vqad.models.initializers import Initializer
from vqad.models.layers import Conv, ConvBlock


class UNet(nn.Module):
    """Three poolings down to four times the width, and back up with skips.

    DSR: anomaly detection module; upsampling module.
    """

    width: int = 64  # channels of the first level; the others have 2, 4 and 4 times as many
    kernel_init: Initializer | None = None  # initializer of the kernels; PyTorch's default if None
    dtype: DTypeLike = jnp.float32  # dtype of the computation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, h, w, c] to float32 logits [n, h, w, 2]."""
        options: dict[str, Any] = {"kernel_init": self.kernel_init, "dtype": self.dtype}
        widths = [self.width, 2 * self.width, 4 * self.width, 4 * self.width]
        skips = []
        for level, width in enumerate(widths, 1):
            x = max_pool(x) if level > 1 else x
            x = ConvBlock((width, width), **options, name=f"encoder_{level}")(x)
            skips.append(x)
        for level in (3, 2, 1):
            width = widths[level - 1]
            x = ConvBlock((width,), upsample=True, **options, name=f"up_{level}")(x)
            x = jnp.concatenate([x, skips[level - 1]], axis=-1)
            x = ConvBlock((width, width), **options, name=f"decoder_{level}")(x)
        return Conv(2, **options, name="output")(x).astype(jnp.float32)
