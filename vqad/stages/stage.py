"""What a stage of training is: what it draws, its loss, the modules that it trains."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from vqad.anomalies.augment import random_gray, random_rotation

Variables = Mapping[str, Any]
Settings = Mapping[str, Any]

MODULES = (
    "autoencoder",
    "restriction_hi",
    "restriction_lo",
    "object_decoder",
    "detector",
    "upsampler",
)
"""The top-level modules of ``Dsr``."""


@flax.struct.dataclass
class Defects:
    """Labelled defects in a batch."""

    mask: jax.Array  # float32 [n, h, w, 1] in {0, 1}, 1 on a defect
    labelled: jax.Array  # bool [n], images whose mask is the truth; no anomalies are drawn on them


@flax.struct.dataclass
class Outcome:
    """What a stage's loss returns beside the loss."""

    metrics: dict[str, jax.Array]  # float32 scalars by name, means over the images
    images: dict[str, jax.Array]  # float32 [n, h, w, 3 or 1] by name, for a person to look at
    kept: Any = None  # arrays [n, ...] to update codebooks with; None where they are frozen


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of training.

    What is random is drawn for a whole batch, before the loss; the loss is a mean over images. So
    a batch may be worked on in parts.

    Attributes:
      name: as the configuration calls its settings.
      draw: (key, image, settings, defects) to the loss's inputs, a tree of arrays [n, ...].
      loss: (model, variables, inputs, settings) to the loss, a mean over images, and the outcome.
      trains: top-level modules whose parameters it trains.
      needs: modules that must be trained before.
      source: field of the configuration that names its images: ``pictures``, of which it takes
        random parts, or ``surface``.
      ema_update: (model, variables, kept, key), with what the losses of the whole batch kept, to
        the codebooks after this step and metrics; None where they are frozen.
      initialize: (model, variables, image, settings, key) to fresh variables that fit a first
        batch, float32 [n, h, w, 3] in [0, 1]; None where data sets nothing.
    """

    name: str
    draw: Callable[..., Any]
    loss: Callable[..., tuple[jax.Array, Outcome]]
    trains: tuple[str, ...]
    needs: tuple[str, ...] = ()
    source: str = "surface"
    ema_update: Callable[..., tuple[Any, dict[str, jax.Array]]] | None = None
    initialize: Callable[..., Variables] | None = None

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that exist after the stage."""
        return tuple(name for name in MODULES if name in self.needs or name in self.trains)

    @property
    def completes(self) -> bool:
        """Whether the whole network exists after the stage, so that it can predict."""
        return self.modules == MODULES


def augmented(
    key: jax.Array, image: jax.Array, defects: Defects | None, settings: Settings
) -> tuple[jax.Array, Defects | None]:
    """Rotates some images float32 [n, h, w, 3] and makes some grey; defects turn with them."""
    if gray := settings.get("gray_probability", 0.0):
        image = random_gray(jax.random.fold_in(key, 1), image, gray)
    probability = settings["rotation_probability"]
    if defects is None:
        return random_rotation(key, image, probability), None
    both = jnp.concatenate([image, defects.mask], axis=-1)
    both = random_rotation(key, both, probability)
    # A quarter of a pixel is enough, as where masks are resized: thin defects stay.
    mask = (both[..., 3:] >= 0.25).astype(jnp.float32)
    return both[..., :3], dataclasses.replace(defects, mask=mask)
