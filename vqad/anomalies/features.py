"""Feature anomalies: codes replaced by others at a drawn rank of distance."""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from vqad.anomalies.perlin import MAX_CELLS, perlin_masks
from vqad.kernels.ranks import codes_at_ranks
from vqad.models.autoencoder import Encoding
from vqad.models.dsr import Dsr


@flax.struct.dataclass
class Disturbance:
    """What is drawn for a batch of n images of h x w; kept apart from what is done with it."""

    mask: jax.Array  # float32 [n, h, w, 1] in {0, 1}
    strength_lo: jax.Array  # float32 [n] in [0.2, 1)
    strength_hi: jax.Array  # float32 [n] in [0.2, 1)
    uniform_lo: jax.Array  # float32 [n, h/8, w/8] in [0, 1), picks the rank at each lo position
    uniform_hi: jax.Array  # float32 [n, h/4, w/4] in [0, 1), picks the rank at each hi position
    use_both: jax.Array  # bool [n], disturb both levels
    use_lo: jax.Array  # bool [n], where not both: disturb lo only (True) or hi only

    @property
    def lo(self) -> jax.Array:
        """Images whose lo codes are disturbed, bool [n]."""
        return self.use_both | self.use_lo

    @property
    def hi(self) -> jax.Array:
        """Images whose hi codes are disturbed, bool [n]."""
        return self.use_both | ~self.use_lo


def draw_disturbance(
    key: jax.Array,
    batch: int,
    size: tuple[int, int],
    min_strength: float = 0.2,
    max_cells: int = MAX_CELLS,
) -> Disturbance:
    """Draws the anomalies of a batch of images of size (h, w), both divisible by 32.

    Strengths are drawn from ``min_strength`` on; the masks' noise has up to ``max_cells`` cells.
    """
    keys = jax.random.split(key, 7)
    h, w = size
    return Disturbance(
        mask=perlin_masks(keys[0], batch, size, max_cells),
        strength_lo=jax.random.uniform(keys[1], (batch,), minval=min_strength),
        strength_hi=jax.random.uniform(keys[2], (batch,), minval=min_strength),
        uniform_lo=jax.random.uniform(keys[3], (batch, h // 8, w // 8)),
        uniform_hi=jax.random.uniform(keys[4], (batch, h // 4, w // 4)),
        use_both=jax.random.bernoulli(keys[5], 0.5, (batch,)),
        use_lo=jax.random.bernoulli(keys[6], 0.5, (batch,)),
    )


def draw_ranks(uniform: jax.Array, strength: jax.Array, num_codes: int) -> jax.Array:
    """Ranks of distance, 0 the nearest code's, of the allowed (DSR: rank of a replaced code).

    With K codes and strength s the ranks are [floor(0.05 K), max(1, min(floor(s K) + 1, K - 1))).
    Draws are float32 [n, ...] in [0, 1), strengths float32 [n] in (0, 1], ranks int32 like the
    draws.

    Examples:
      >>> draws = jnp.array([[0.0, 0.999]])
      >>> draw_ranks(draws, jnp.array([0.5]), num_codes=100).tolist()  # of 5 to 50
      [[5, 50]]
    """
    nearest = int(0.05 * num_codes)
    farthest = jnp.maximum(1, jnp.minimum(jnp.floor(strength * num_codes) + 1, num_codes - 1))
    count = jnp.maximum(farthest - nearest, 1).reshape(-1, *[1] * (uniform.ndim - 1))
    return (nearest + jnp.minimum(jnp.floor(uniform * count), count - 1)).astype(jnp.int32)


def broadcast(flags: jax.Array) -> jax.Array:
    """Flags [n] to [n, 1, 1, 1]."""
    return flags[:, None, None, None]


def pool_mask(mask: jax.Array, factor: int) -> jax.Array:
    """Max-pools a mask float [n, h, w, 1] to [n, h/factor, w/factor, 1]."""
    n, h, w, c = mask.shape
    return mask.reshape(n, h // factor, factor, w // factor, factor, c).max((2, 4))


def dilate(mask: jax.Array) -> jax.Array:
    """Maximum over 3 x 3 positions of a mask float [n, h, w, c] in {0, 1}; the same shape."""
    return lax.reduce_window(mask, 0.0, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")


def replace_codes(
    features: jax.Array, values: jax.Array, codes: jax.Array, mask: jax.Array, ranks: jax.Array
) -> jax.Array:
    """Replaces codes under a mask by those of given ranks (DSR: feature anomalies).

    Args:
      features: F, float [n, h, w, d], around which codes are ranked.
      values: Q, float32 [n, h, w, d], kept where the mask is 0.
      codes: the codebook, float32 [k, d].
      mask: float [n, f h, f w, 1] in {0, 1}; max-pooled to the feature grid.
      ranks: int32 [n, h, w].
    """
    wanted = pool_mask(mask, mask.shape[1] // features.shape[1]) > 0
    return jnp.where(wanted, codes_at_ranks(features, codes, ranks, wanted[..., 0]), values)


def target_mask(mask: jax.Array, lo_disturbed: jax.Array) -> jax.Array:
    """The mask at the resolution of the coarsest disturbed grid (DSR: target mask).

    A mask float [n, h, w, 1] in {0, 1} is max-pooled 8x where lo codes were disturbed, bool [n],
    else 4x, and repeated back to full size.
    """

    def coarse(factor: int) -> jax.Array:
        return pool_mask(mask, factor).repeat(factor, 1).repeat(factor, 2)

    return jnp.where(broadcast(lo_disturbed), coarse(8), coarse(4))


def disturb(
    model: Dsr, encoding: Encoding, draws: Disturbance
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Disturbs the codes of a batch: both levels, or one (DSR: feature anomalies).

    The network is bound to its variables, the encoding the undisturbed one. Returned are Q_lo and
    Q_hi, disturbed, float32, and the detector's target mask [n, h, w, 1].
    """
    autoencoder = model.autoencoder
    book_lo, book_hi = autoencoder.quantizer_lo.codes.value, autoencoder.quantizer_hi.codes.value
    ranks_lo = draw_ranks(draws.uniform_lo, draws.strength_lo, len(book_lo))
    ranks_hi = draw_ranks(draws.uniform_hi, draws.strength_hi, len(book_hi))
    lo, hi = encoding.lo.values, encoding.hi.values
    anomalous_lo = replace_codes(encoding.features_lo, lo, book_lo, draws.mask, ranks_lo)
    values_lo = jnp.where(broadcast(draws.lo), anomalous_lo, lo)
    # With both levels disturbed, hi is ranked and quantized anew around the disturbed lo.
    both = broadcast(draws.use_both)
    _, features_given_lo = autoencoder.features_hi(encoding.hidden_hi, anomalous_lo)
    features_hi = jnp.where(both, features_given_lo, encoding.features_hi)
    values_hi = jnp.where(both, autoencoder.quantizer_hi(features_given_lo).values, hi)
    anomalous_hi = replace_codes(features_hi, values_hi, book_hi, draws.mask, ranks_hi)
    values_hi = jnp.where(broadcast(draws.hi), anomalous_hi, hi)
    return values_lo, values_hi, target_mask(draws.mask, draws.lo)
