"""The discrete autoencoder: encoders, quantizers, general decoder."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqad.models.image_shape import check_image_shape
from vqad.models.layers import Coder, Conv
from vqad.models.quantizer import Quantized, VectorQuantizer


class HiEncoder(Coder):
    """Image to features 4x smaller (DSR: hi encoder)."""

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Maps [n, h, w, 3] to [n, h/4, w/4, hiddens]."""
        x = self._conv(self.hiddens // 2, "conv_1", "down")(image)
        x = self._conv(self.hiddens, "conv_2", "down")(nn.relu(x))
        x = self._conv(self.hiddens, "conv_3")(nn.relu(x))
        return self._stack()(x)


class LoEncoder(Coder):
    """Hi features to features 8x smaller than the image (DSR: lo encoder)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, h/4, w/4, hiddens] to [n, h/8, w/8, hiddens]."""
        x = self._conv(self.hiddens, "conv_1", "down")(x)
        x = self._conv(self.hiddens, "conv_2")(nn.relu(x))
        return self._stack()(nn.relu(x))


class GeneralDecoder(Coder):
    """concat(U, Q_hi) to I_gen (DSR: general appearance decoder)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, h/4, w/4, 2d] to float32 [n, h, w, 3]."""
        x = self._stack()(self._conv(self.hiddens, "conv_1")(x))
        x = self._conv(self.hiddens // 2, "conv_transpose_1", "up")(x)
        x = self._conv(3, "conv_transpose_2", "up")(nn.relu(x))
        return x.astype(jnp.float32)


@flax.struct.dataclass
class Encoding:
    """Both levels of the discrete representation of an image batch."""

    hidden_hi: jax.Array  # [n, h/4, w/4, hiddens], output of the hi encoder
    hidden_lo: jax.Array  # [n, h/8, w/8, hiddens], output of the lo encoder
    features_lo: jax.Array  # F_lo, [n, h/8, w/8, d]
    features_hi: jax.Array  # F_hi, [n, h/4, w/4, d]
    lo: Quantized  # quantization of F_lo
    hi: Quantized  # quantization of F_hi
    upsampled_lo: jax.Array  # U, [n, h/4, w/4, d]


class DiscreteAutoencoder(nn.Module):
    """Encoders, codebooks K_hi and K_lo, general decoder: stage 1's (DSR: discrete autoencoder)."""

    hiddens: int = 128  # h, channels of the hidden layers
    residual_hiddens: int = 64  # r, channels inside the residual blocks
    residual_layers: int = 2  # number of residual blocks in each stack
    code_dim: int = 128  # d, dimension of a code
    num_codes: int = 4096  # codes in each of the two books
    commitment_cost: float = 0.25  # weight of the commitment losses
    decay: float = 0.99  # decay of the codebooks' moving averages
    reseed_below: float = 0.0  # moving count under which a code is re-seeded; 0 is off (the paper)
    dtype: DTypeLike = jnp.float32  # dtype of the computation; distances and codebooks are float32

    def setup(self) -> None:
        """Builds the parts."""
        sizes = (self.hiddens, self.residual_hiddens, self.residual_layers, self.dtype)
        self.encoder_hi = HiEncoder(*sizes)
        self.encoder_lo = LoEncoder(*sizes)
        self.general_decoder = GeneralDecoder(*sizes)
        self.pre_quantizer_lo = Conv(self.code_dim, kernel_size=1, dtype=self.dtype)
        self.pre_quantizer_hi = Conv(self.code_dim, kernel_size=1, dtype=self.dtype)
        self.upsample_lo = Conv(self.code_dim, kind="up", dtype=self.dtype)
        book = (self.num_codes, self.code_dim, self.commitment_cost, self.decay, self.reseed_below)
        self.quantizer_lo = VectorQuantizer(*book)
        self.quantizer_hi = VectorQuantizer(*book)

    def encode(self, image: jax.Array) -> Encoding:
        """Encodes [n, h, w, 3] in [0, 1]; a VqadError if the networks do not take its shape."""
        check_image_shape(image.shape)
        hidden_hi = self.encoder_hi(image)
        hidden_lo = self.encoder_lo(hidden_hi)
        features_lo = self.pre_quantizer_lo(hidden_lo)
        lo = self.quantizer_lo(features_lo)
        upsampled_lo, features_hi = self.features_hi(hidden_hi, lo.values)
        hi = self.quantizer_hi(features_hi)
        return Encoding(hidden_hi, hidden_lo, features_lo, features_hi, lo, hi, upsampled_lo)

    def features_hi(self, hidden_hi: jax.Array, values_lo: jax.Array) -> tuple[jax.Array, ...]:
        """U and F_hi [n, h/4, w/4, d] from the hi encoder's output and Q_lo [n, h/8, w/8, d]."""
        upsampled_lo = self.upsample_lo(values_lo)
        joined = jnp.concatenate([hidden_hi, upsampled_lo], axis=-1)
        return upsampled_lo, self.pre_quantizer_hi(joined)

    def decode(self, upsampled_lo: jax.Array, values_hi: jax.Array) -> jax.Array:
        """I_gen, float32 [n, h, w, 3], from U and Q_hi, both [n, h/4, w/4, d]."""
        joined = jnp.concatenate([upsampled_lo, values_hi.astype(upsampled_lo.dtype)], axis=-1)
        return self.general_decoder(joined)

    def __call__(
        self, image: jax.Array, keep_hi: jax.Array | None = None
    ) -> tuple[jax.Array, Encoding]:
        """I_gen, float32 [n, h, w, 3], and the encoding of an image float [n, h, w, 3] in [0, 1].

        Where ``keep_hi``, bool [n, 1, 1, 1], is not set, an image is decoded with Q_hi = 0.
        """
        encoding = self.encode(image)
        values_hi = encoding.hi.values
        if keep_hi is not None:
            values_hi = jnp.where(keep_hi, values_hi, 0)
        return self.decode(encoding.upsampled_lo, values_hi), encoding
