"""Augmentation on the device: rotation and loss of colour."""

import jax
import jax.numpy as jnp

# Rec. 601 luma, as Pillow's mode L.
_LUMA = (0.299, 0.587, 0.114)


def rotate(image: jax.Array, degrees: jax.Array) -> jax.Array:
    """Rotates an image float [h, w, c] by degrees counter-clockwise, bilinearly; zeros outside."""
    h, w, c = image.shape
    angle = jnp.deg2rad(degrees)
    y = jnp.arange(h, dtype=jnp.float32)[:, None] - (h - 1) / 2
    x = jnp.arange(w, dtype=jnp.float32)[None, :] - (w - 1) / 2
    source_y = jnp.cos(angle) * y + jnp.sin(angle) * x + (h - 1) / 2
    source_x = jnp.cos(angle) * x - jnp.sin(angle) * y + (w - 1) / 2
    # One pixel of zeros all around; whatever lies farther out is moved onto it.
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0))).reshape(-1, c)
    source_y = jnp.clip(source_y + 1, 0, h + 1)
    source_x = jnp.clip(source_x + 1, 0, w + 1)
    top = jnp.minimum(jnp.floor(source_y), h).astype(jnp.int32)
    left = jnp.minimum(jnp.floor(source_x), w).astype(jnp.int32)
    fy, fx = (source_y - top)[..., None], (source_x - left)[..., None]

    def tap(dy: int, dx: int) -> jax.Array:
        index = (top + dy) * (w + 2) + left + dx
        return jnp.take(padded, index.reshape(-1), axis=0, mode="clip").reshape(h, w, c)

    upper = tap(0, 0) * (1 - fx) + tap(0, 1) * fx
    lower = tap(1, 0) * (1 - fx) + tap(1, 1) * fx
    return (upper * (1 - fy) + lower * fy).astype(image.dtype)


def random_rotation(key: jax.Array, images: jax.Array, probability: float) -> jax.Array:
    """Rotates some of the images [n, h, w, c] by up to 90 degrees either way (DSR: rotation)."""
    if probability == 0:
        return images
    coin_key, angle_key = jax.random.split(key)
    n = len(images)
    chosen = jax.random.bernoulli(coin_key, probability, (n, 1, 1, 1))
    degrees = jax.random.uniform(angle_key, (n,), minval=-90.0, maxval=90.0)
    return jnp.where(chosen, jax.vmap(rotate)(images, degrees), images)


def random_gray(key: jax.Array, image: jax.Array, probability: float) -> jax.Array:
    """Takes the colour out of some of the images float32 [n, h, w, 3], RGB."""
    luma = jnp.sum(image * jnp.asarray(_LUMA), axis=-1, keepdims=True)
    chosen = jax.random.bernoulli(key, probability, (len(image), 1, 1, 1))
    return jnp.where(chosen, luma, image)
