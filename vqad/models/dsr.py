"""DSR whole: the composition of its parts, from image to masks and scores."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from vqad.models import initializers
from vqad.models.autoencoder import DiscreteAutoencoder, Encoding
from vqad.models.object_decoder import ObjectDecoder
from vqad.models.quantizer import Quantized, VectorQuantizer
from vqad.models.restriction import SubspaceRestriction
from vqad.models.unet import UNet


@flax.struct.dataclass
class Restored:
    """Restored features and codes."""

    features_lo: jax.Array  # F~_lo, float32 [n, h/8, w/8, d]
    features_hi: jax.Array  # F~_hi, float32 [n, h/4, w/4, d]
    lo: Quantized  # quantization of F~_lo, Q~_lo
    hi: Quantized  # quantization of F~_hi, Q~_hi
    unit_lo: jax.Array  # float32 scalar, standard deviation of K_lo with ``Dsr.code_units``, else 1
    unit_hi: jax.Array  # the same of K_hi


@flax.struct.dataclass
class Inference:
    """Everything that DSR computes for an image batch; float32."""

    encoding: Encoding  # the discrete representation
    restored: Restored  # the restored representation
    general: jax.Array  # I_gen [n, h, w, 3]
    specific: jax.Array  # I_spc [n, h, w, 3]
    detector_logits: jax.Array  # [n, h, w, 2]
    detector_mask: jax.Array  # M, softmax of the logits; channel 1 is "anomalous"
    upsampler_logits: jax.Array  # [n, h, w, 2]
    upsampled_mask: jax.Array  # M_up, softmax of the logits; channel 1 is the pixel map
    smoothed_mask: jax.Array  # [n, h, w], zero-padded local mean of M's channel 1
    score: jax.Array  # [n], maximum of ``smoothed_mask``: the image score in [0, 1]


def smooth(mask: jax.Array, window: int) -> jax.Array:
    """Mean over window x window (odd), zeros outside, float32 [n, h, w] (DSR: image score)."""
    r = window // 2
    sums = lax.reduce_window(
        mask, 0.0, lax.add, (1, window, window), (1, 1, 1), ((0, 0), (r, r), (r, r))
    )
    return sums / (window * window)


class Dsr(nn.Module):
    """The whole network of Zavrtanik, Kristan and Skocaj (ECCV 2022).

    DSR: dual subspace re-projection network.

    Attributes:
      hiddens: h, channels of the hidden layers of encoders and decoders.
      residual_hiddens: r, channels inside the residual blocks.
      residual_layers: number of residual blocks in each stack.
      code_dim: d, dimension of a code.
      num_codes: codes in each of the two books.
      restriction_width: channels of the restrictions' first level; 0 for ``code_dim``.
      code_units: whether the restrictions answer in units of the codebook: their output is
        multiplied by the codes' standard deviation and added to their mean, and training divides
        errors of features by that deviation. Off in the paper.
      object_bottleneck: channels at the object decoder's coarsest level.
      unet_width: channels of the first level of detector and upsampler.
      commitment_cost: weight of the commitment losses.
      decay: decay of the codebooks' moving averages.
      reseed_below: moving count under which a code is re-seeded from data; 0 is off (the paper).
      score_window: odd side of the local mean under the image score (21 at 256 x 256).
      remat: whether training computes the U-Nets' activations a second time for their gradients in
        place of keeping them (``jax.checkpoint``): less memory, more time, the same numbers.
      dtype: dtype of the computation (``float32`` or ``bfloat16``); parameters, distances,
        statistics, softmaxes and outputs are float32.
    """

    hiddens: int = 128
    residual_hiddens: int = 64
    residual_layers: int = 2
    code_dim: int = 128
    num_codes: int = 4096
    restriction_width: int = 0
    code_units: bool = False
    object_bottleneck: int = 64
    unet_width: int = 64
    commitment_cost: float = 0.25
    decay: float = 0.99
    reseed_below: float = 0.0
    score_window: int = 21
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Builds the parts."""
        sizes = (self.hiddens, self.residual_hiddens, self.residual_layers)
        self.autoencoder = DiscreteAutoencoder(
            *sizes,
            self.code_dim,
            self.num_codes,
            self.commitment_cost,
            self.decay,
            self.reseed_below,
            self.dtype,
        )
        width = self.restriction_width or self.code_dim
        self.restriction_hi = SubspaceRestriction(self.code_dim, width, self.dtype)
        self.restriction_lo = SubspaceRestriction(self.code_dim, width, self.dtype)
        narrow = initializers.normal(0.02)
        self.object_decoder = ObjectDecoder(*sizes, self.object_bottleneck, narrow, self.dtype)
        unet = nn.remat(UNet) if self.remat else UNet
        self.detector = unet(self.unet_width, kernel_init=narrow, dtype=self.dtype)
        self.upsampler = unet(self.unet_width, dtype=self.dtype)

    def reconstruct(
        self, image: jax.Array, keep_hi: jax.Array | None = None
    ) -> tuple[jax.Array, Encoding]:
        """I_gen and the encoding of [n, h, w, 3]; see ``DiscreteAutoencoder.__call__``."""
        return self.autoencoder(image, keep_hi)

    def ema_update(self, lo: tuple[jax.Array, jax.Array], hi: tuple[jax.Array, jax.Array]) -> None:
        """Updates both codebooks by features [n, h, w, d] and codes [n, h, w] of a whole batch."""
        self.autoencoder.quantizer_lo.ema_update(*lo)
        self.autoencoder.quantizer_hi.ema_update(*hi)

    def restore(self, values_lo: jax.Array, values_hi: jax.Array) -> Restored:
        """Re-projects Q_lo and Q_hi to normal features (DSR: subspace restriction module)."""
        book_lo, book_hi = self.autoencoder.quantizer_lo, self.autoencoder.quantizer_hi
        lo, unit_lo = self._in_units(self.restriction_lo(values_lo), book_lo)
        hi, unit_hi = self._in_units(self.restriction_hi(values_hi), book_hi)
        return Restored(lo, hi, book_lo(lo), book_hi(hi), unit_lo, unit_hi)

    def _in_units(self, features: jax.Array, book: VectorQuantizer) -> tuple[jax.Array, jax.Array]:
        if not self.code_units:
            return features, jnp.ones(())
        mean, deviation = book.moments()
        return mean + deviation * features, deviation

    def decode_specific(self, restored: Restored) -> jax.Array:
        """I_spc, float32 [n, h, w, 3], from restored codes (DSR: object-specific decoder)."""
        upsampled_lo = self.autoencoder.upsample_lo(restored.lo.values)
        values_hi = restored.hi.values.astype(upsampled_lo.dtype)
        return self.object_decoder(jnp.concatenate([upsampled_lo, values_hi], axis=-1))

    def detect(self, specific: jax.Array, general: jax.Array) -> jax.Array:
        """Logits [n, h, w, 2] from I_spc and I_gen (DSR: anomaly detection module)."""
        return self.detector(jnp.concatenate([specific, general], axis=-1))

    def upsample(self, specific: jax.Array, general: jax.Array, mask: jax.Array) -> jax.Array:
        """Logits [n, h, w, 2] from I_spc, I_gen and M [n, h, w, 2] (DSR: upsampling module)."""
        return self.upsampler(jnp.concatenate([specific, general, mask], axis=-1))

    def compare(
        self, image: jax.Array
    ) -> tuple[Encoding, Restored, jax.Array, jax.Array, jax.Array]:
        """Encoding, restored, I_gen, I_spc, detector logits of an image [n, h, w, 3]."""
        general, encoding = self.reconstruct(image)
        restored = self.restore(encoding.lo.values, encoding.hi.values)
        specific = self.decode_specific(restored)
        return encoding, restored, general, specific, self.detect(specific, general)

    def __call__(self, image: jax.Array, upsampled: bool = True) -> Inference:
        """From images float [n, h, w, 3], RGB in [0, 1], to masks and scores (DSR: image score).

        Without ``upsampled``, as before stage 3, M stands in the place of M_up. Raises a VqadError
        for sides not divisible by 32, and other than three channels.
        """
        encoding, restored, general, specific, logits = self.compare(image)
        mask = jax.nn.softmax(logits)
        upsampler_logits = self.upsample(specific, general, mask) if upsampled else logits
        smoothed = smooth(mask[..., 1], self.score_window)
        return Inference(
            encoding=encoding,
            restored=restored,
            general=general,
            specific=specific,
            detector_logits=logits,
            detector_mask=mask,
            upsampler_logits=upsampler_logits,
            upsampled_mask=jax.nn.softmax(upsampler_logits),
            smoothed_mask=smoothed,
            score=smoothed.max((1, 2)),
        )
