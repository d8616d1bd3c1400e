"""What a stage of training is: what it draws, its loss, the modules that it trains."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from vqad.anomalies.augment import random_rotation

Variables = Mapping[str, Any]


@flax.struct.dataclass
class Defects:
    """Labelled defects in a batch.

    Attributes:
      mask: float32 [n, h, w, 1] in {0, 1}, 1 on a defect.
      labelled: bool [n], images whose mask is the truth; no anomalies are drawn on them.
    """

    mask: jax.Array
    labelled: jax.Array


@flax.struct.dataclass
class Outcome:
    """What a stage's loss returns beside the loss.

    Attributes:
      metrics: float32 scalars by name, means over the images.
      images: float32 [n, h, w, 3 or 1] by name, for a person to look at.
      kept: arrays [n, ...] that the codebooks are moved with; None where they are frozen.
    """

    metrics: dict[str, jax.Array]
    images: dict[str, jax.Array]
    kept: Any = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of training.

    What is random is drawn for a whole batch, before the loss; the loss is a mean over images. So
    a batch may be worked on in parts.

    Attributes:
      name: ``stage1``, ``stage2`` or ``stage3``.
      draw: (key, image, settings, defects) to the loss's inputs, a tree of arrays [n, ...].
      loss: (model, variables, inputs, settings) to the loss, a mean over images, and the outcome.
      trains: top-level modules whose parameters it trains.
      source: field of the configuration that names its images: ``pictures``, of which it takes
        random parts, or ``surface``.
      needs: stage whose checkpoint it starts from, if any.
      move_codebooks: (model, variables, kept, key), with what the losses of the whole batch kept,
        to the codebooks after this step and metrics; None where they are frozen.
    """

    name: str
    draw: Callable[..., Any]
    loss: Callable[..., tuple[jax.Array, Outcome]]
    trains: tuple[str, ...]
    source: str = "surface"
    needs: str | None = None
    move_codebooks: Callable[..., tuple[Any, dict[str, jax.Array]]] | None = None


def turn(
    key: jax.Array, image: jax.Array, defects: Defects | None, probability: float
) -> tuple[jax.Array, Defects | None]:
    """Rotates some images of a batch, and the masks of labelled defects with them.

    Args:
      key: random key.
      image: float32 [n, h, w, 3] in [0, 1].
      defects: labelled defects in the batch, if any.
      probability: of an image to be rotated.

    Returns:
      The images and the defects.
    """
    if defects is None:
        return random_rotation(key, image, probability), None
    both = jnp.concatenate([image, defects.mask], axis=-1)
    both = random_rotation(key, both, probability)
    # A quarter of a pixel is enough, as where masks are resized: thin defects stay.
    return both[..., :3], defects.replace(mask=(both[..., 3:] >= 0.25).astype(jnp.float32))
