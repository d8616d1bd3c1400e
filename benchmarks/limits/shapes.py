"""Masks of drawn anomalies, of kinds that training draws and of kinds that it does not."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vqad.anomalies.augment import rotate
from vqad.anomalies.perlin import THRESHOLD, perlin_mask, perlin_noise
from vqad.data.surface_demo.defects import Painted, pit, scratch

_TRIES = 100
_SEED = 7
_SMALLEST = 64  # pixels, of a square that the demo's defects are drawn in


def trained_masks(max_cells: int, count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Masks as training draws them, without those that are empty.

    Args:
      max_cells: most cells of the noise along a side.
      count: n.
      size: (h, w).
      seed: of the drawing.

    Returns:
      float32 [n, h, w, 1] in {0, 1}.
    """
    draw = jax.jit(jax.vmap(lambda key: perlin_mask(key, size, max_cells)))
    return _nonempty(draw, count, seed)


def perlin_masks_of(cells: int, count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """As ``trained_masks``, all with the same number of cells along both sides."""

    def one(key: jax.Array) -> jax.Array:
        turns_key, angle_key = jax.random.split(key)
        turns = jax.random.uniform(turns_key, (cells + 1, cells + 1))
        noise = perlin_noise(turns, jnp.array([cells, cells]), size)[..., None]
        degrees = jax.random.uniform(angle_key, (), minval=-90.0, maxval=90.0)
        return (rotate(noise, degrees) > THRESHOLD).astype(jnp.float32)

    return _nonempty(jax.jit(jax.vmap(one)), count, seed)


def _nonempty(draw: Callable[[jax.Array], jax.Array], count: int, seed: int) -> np.ndarray:
    """Draws masks from keys, again where one is empty: few cells often stay below the threshold."""
    keys = jax.random.split(jax.random.key(_SEED + seed), count)
    masks = np.asarray(draw(keys))
    for attempt in range(_TRIES):
        empty = ~masks.any((1, 2, 3), keepdims=True)
        if not empty.any():
            break
        again = jax.vmap(jax.random.fold_in, (0, None))(keys, attempt)
        masks = np.where(empty, draw(again), masks)
    return masks


def thin_curves(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Bent lines 2 to 4 pixels wide, those of the demo's scratches; float32 [n, h, w, 1]."""
    return _painted(scratch, count, size, seed)


def small_spots(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """One to four spots of 5 to 14 pixels, those of the demo's pits; float32 [n, h, w, 1]."""
    return _painted(pit, count, size, seed)


def _painted(
    paint: Callable[[np.random.Generator, np.ndarray], Painted],
    count: int,
    size: tuple[int, int],
    seed: int,
) -> np.ndarray:
    """Masks of the demo's defects, drawn in a square that is put anywhere in the image.

    The demo's defects want a square of some size: of a smaller image it is the middle that counts.
    """
    rng = np.random.default_rng((_SEED, seed))
    side = min(size)
    square = max(side, _SMALLEST)
    cut = slice((square - side) // 2, (square + side) // 2)
    masks = np.zeros((count, *size, 1), np.float32)
    for mask in masks:
        top, left = (rng.integers(0, length - side + 1) for length in size)
        while not mask.any():
            _, painted = paint(rng, np.ones((square, square, 3)))
            mask[top : top + side, left : left + side, 0] = painted[cut, cut]
    return masks
