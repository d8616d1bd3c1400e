"""The random draws behind a batch of feature anomalies (DSR, section 3)."""

import flax.struct
import jax
import jax.numpy as jnp

from vqad.synthesis.perlin import MAX_CELLS, perlin_masks


@flax.struct.dataclass
class Disturbance:
    """What is drawn for a batch of n images of h x w; kept apart from what is done with it.

    Attributes:
      mask: float32 [n, h, w, 1] in {0, 1}.
      strength_lo: float32 [n] in [0.2, 1).
      strength_hi: float32 [n] in [0.2, 1).
      uniform_lo: float32 [n, h/8, w/8] in [0, 1), picks the rank at each lo position.
      uniform_hi: float32 [n, h/4, w/4] in [0, 1), picks the rank at each hi position.
      use_both: bool [n], disturb both levels.
      use_lo: bool [n], where not both: disturb lo only (True) or hi only.
    """

    mask: jax.Array
    strength_lo: jax.Array
    strength_hi: jax.Array
    uniform_lo: jax.Array
    uniform_hi: jax.Array
    use_both: jax.Array
    use_lo: jax.Array

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
    """Draws the anomalies of a batch.

    Args:
      key: random key.
      batch: n.
      size: (h, w), both divisible by 32.
      min_strength: lower end of the strengths.
      max_cells: most cells of the masks' noise along a side.

    Returns:
      The draws.
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


def broadcast(flags: jax.Array) -> jax.Array:
    """Flags [n] to [n, 1, 1, 1]."""
    return jnp.reshape(flags, (-1, 1, 1, 1))
