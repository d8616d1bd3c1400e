"""Smudges on images, from which the upsampler learns full-resolution masks."""

import jax
import jax.numpy as jnp

from vqad.anomalies.perlin import MAX_CELLS, perlin_masks


def smudge(
    image: jax.Array, mask: jax.Array, color: jax.Array, transparency: jax.Array
) -> jax.Array:
    """Blends colours [n, 3] over images [n, h, w, 3] under masks [n, h, w, 1] (DSR: smudges).

    All are float32. Beta, the transparency, [n] in [0, 1], is the share of the image that shines
    through.
    """
    beta = transparency[:, None, None, None]
    blended = (1 - beta) * color[:, None, None, :] + beta * image
    return jnp.where(mask > 0, blended, image)


def random_smudges(
    key: jax.Array, image: jax.Array, max_cells: int = MAX_CELLS
) -> tuple[jax.Array, jax.Array]:
    """Smudges half of a batch, in uniform colours (DSR: smudges).

    Transparencies are uniform in [0, 0.8). Takes images float32 [n, h, w, 3] in [0, 1], h and w
    divisible by 32, and the most cells of the masks' noise along a side; returns images and masks
    [n, h, w, 1].
    """
    mask_key, color_key, beta_key = jax.random.split(key, 3)
    n, h, w, _ = image.shape
    mask = perlin_masks(mask_key, n, (h, w), max_cells)
    color = jax.random.uniform(color_key, (n, 3))
    beta = jax.random.uniform(beta_key, (n,), maxval=0.8)
    return smudge(image, mask, color, beta), mask
