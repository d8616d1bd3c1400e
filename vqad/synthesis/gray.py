"""Grey versions of pictures, for codebooks of surfaces seen by grey cameras."""

import jax
import jax.numpy as jnp

# Rec. 601 luma, as Pillow's mode L.
_LUMA = (0.299, 0.587, 0.114)


def random_gray(key: jax.Array, image: jax.Array, probability: float) -> jax.Array:
    """Takes the colour out of some images of a batch.

    Args:
      key: random key.
      image: float32 [n, h, w, 3], RGB.
      probability: of an image to become grey.

    Returns:
      float32 [n, h, w, 3].
    """
    luma = jnp.sum(image * jnp.asarray(_LUMA), axis=-1, keepdims=True)
    chosen = jax.random.bernoulli(key, probability, (image.shape[0], 1, 1, 1))
    return jnp.where(chosen, luma, image)
