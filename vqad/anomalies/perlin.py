"""Perlin noise and the anomaly masks cut from it."""

import jax
import jax.numpy as jnp
from jax import lax

from vqad.anomalies.augment import rotate

MAX_CELLS = 32
THRESHOLD = 0.5


def _lattice_weights(size: int, cells: jax.Array, points: int) -> tuple[jax.Array, jax.Array]:
    """Fade weight of each lattice point at each pixel, and that weight times the offset to it."""
    position = jnp.arange(size, dtype=jnp.float32) * cells / size
    offset = position[:, None] - jnp.arange(points, dtype=jnp.float32)  # [size, points]
    t = jnp.clip(1 - jnp.abs(offset), 0, 1)
    # The fade is antisymmetric about 1/2, so that the left neighbour's weight 1 - fade(f) is
    # fade(1 - f), the right one's with its own distance.
    weight = t * t * t * (t * (6 * t - 15) + 10)
    return weight, weight * offset


def perlin_noise(turns: jax.Array, cells: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Perlin gradient noise float32 [h, w] with the quintic fade, times sqrt 2; about in [-1, 1].

    The sum over the four corners of each cell is written as two products with banded matrices, one
    for each gradient component: no gathers, and the number of cells may be traced. It has int or
    float [2] cells along the sides, which they divide; turns, float32 [p, q], are the angle of the
    gradient at each lattice point, of which the first ``cells + 1`` along each axis are used.
    """
    angles = 2 * jnp.pi * turns.astype(jnp.float32)
    rows, rows_offset = _lattice_weights(size[0], cells[0], turns.shape[0])
    columns, columns_offset = _lattice_weights(size[1], cells[1], turns.shape[1])

    def product(left: jax.Array, gradient: jax.Array, right: jax.Array) -> jax.Array:
        return jnp.linalg.multi_dot([left, gradient, right.T], precision=lax.Precision.HIGHEST)

    noise = product(rows_offset, jnp.cos(angles), columns)
    noise += product(rows, jnp.sin(angles), columns_offset)
    return jnp.sqrt(2.0) * noise


def perlin_mask(key: jax.Array, size: tuple[int, int], max_cells: int = MAX_CELLS) -> jax.Array:
    """One mask, float32 [h, w, 1] in {0, 1}: Perlin noise, rotated, above 0.5 (DSR: anomaly masks).

    It is rotated by up to 90 degrees either way. The cells along each axis are drawn from the
    powers of two up to ``max_cells``, which is one, and divides both sides of size (h, w).
    """
    noise, _ = perlin_noise_field(key, size, max_cells)
    return (noise > THRESHOLD).astype(jnp.float32)


def perlin_noise_field(
    key: jax.Array, size: tuple[int, int], max_cells: int = MAX_CELLS
) -> tuple[jax.Array, jax.Array]:
    """The noise behind ``perlin_mask``, float32 [h, w, 1], and its cells [2] along each axis."""
    cells_key, turns_key, angle_key = jax.random.split(key, 3)
    cells = 2 ** jax.random.randint(cells_key, (2,), 0, max_cells.bit_length())
    turns = jax.random.uniform(turns_key, (max_cells + 1, max_cells + 1))
    degrees = jax.random.uniform(angle_key, (), minval=-90.0, maxval=90.0)
    return rotate(perlin_noise(turns, cells, size)[..., None], degrees), cells


def perlin_masks(
    key: jax.Array, batch: int, size: tuple[int, int], max_cells: int = MAX_CELLS
) -> jax.Array:
    """Masks float32 [n, h, w, 1] for a batch, of which half are empty (DSR: anomaly masks)."""
    mask_key, coin_key = jax.random.split(key)
    masks = jax.vmap(lambda k: perlin_mask(k, size, max_cells))(jax.random.split(mask_key, batch))
    return masks * jax.random.bernoulli(coin_key, 0.5, (batch, 1, 1, 1))
