"""Stage 1: the discrete autoencoder and its codebooks (DSR, section 3)."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax

from vqad.anomalies.augment import random_gray
from vqad.models.dsr import Dsr
from vqad.models.quantizer import perplexity_and_usage
from vqad.stages.losses import mean_squared_error
from vqad.stages.stage import Outcome, Stage, Variables


@flax.struct.dataclass
class AutoencoderInputs:
    """What stage 1's loss is computed from.

    Attributes:
      image: I, float32 [n, h, w, 3] in [0, 1].
      keep_hi: bool [n, 1, 1, 1], images that are decoded from both levels, the others from lo
        alone; all if None.
    """

    image: jax.Array
    keep_hi: jax.Array | None = None


def _keys(key: jax.Array) -> jax.Array:
    """For grey images, codes that are re-seeded, and images without hi."""
    return jax.random.split(key, 3)


def draw_autoencoder_inputs(
    key: jax.Array, image: jax.Array, settings: Mapping[str, Any], defects: None = None
) -> AutoencoderInputs:
    """Makes some images grey and drops hi from some.

    Args:
      key: random key of the step.
      image: float32 [n, h, w, 3] in [0, 1].
      settings: ``gray_probability``, ``hi_dropout``.
      defects: nothing; pictures have no labelled defects.

    Returns:
      The loss's inputs.
    """
    gray_key, _, drop_key = _keys(key)
    image = random_gray(gray_key, image, settings["gray_probability"])
    keep_hi = None
    if settings["hi_dropout"] > 0:
        shape = (image.shape[0], 1, 1, 1)
        keep_hi = jax.random.bernoulli(drop_key, 1 - settings["hi_dropout"], shape)
    return AutoencoderInputs(image, keep_hi)


def autoencoder_loss(
    model: Dsr,
    variables: Variables,
    inputs: AutoencoderInputs,
    settings: Mapping[str, Any] | None = None,
) -> tuple[jax.Array, Outcome]:
    """mse(I, I_gen) and the commitment losses of both levels.

    Args:
      model: the network.
      variables: its variables; needs the autoencoder's only.
      inputs: the images.
      settings: nothing of them is used.

    Returns:
      The loss, float32 scalar, and the outcome; keeps features and codes of both levels.
    """
    general, encoding = model.apply(
        variables, inputs.image, keep_hi=inputs.keep_hi, method="reconstruct"
    )
    reconstruction = mean_squared_error(inputs.image, general)
    loss = reconstruction + encoding.lo.commitment + encoding.hi.commitment
    metrics = {
        "loss": loss,
        "reconstruction": reconstruction,
        "commitment_lo": encoding.lo.commitment,
        "commitment_hi": encoding.hi.commitment,
    }
    kept = {
        "lo": jax.lax.stop_gradient((encoding.features_lo, encoding.lo.codes)),
        "hi": jax.lax.stop_gradient((encoding.features_hi, encoding.hi.codes)),
    }
    return loss, Outcome(metrics, {"I": inputs.image, "I_gen": general}, kept)


def move_codebooks(
    model: Dsr, variables: Variables, kept: Mapping[str, Any], key: jax.Array
) -> tuple[Any, dict[str, jax.Array]]:
    """Moves both codebooks by the statistics of a whole batch.

    Args:
      model: the network.
      variables: its variables before the step.
      kept: features [n, h, w, d] and codes [n, h, w] of the batch by level, as the loss kept them.
      key: random key of the step, for codes that are re-seeded.

    Returns:
      The codebooks after the step; ``perplexity`` and ``codebook_usage`` of each level.
    """
    _, updates = model.apply(
        variables,
        kept["lo"],
        kept["hi"],
        method="move_codebooks",
        mutable=["codebook"],
        rngs={"codebook": _keys(key)[1]},
    )
    metrics = {}
    for level, (_, codes) in kept.items():
        perplexity, usage = perplexity_and_usage(codes, model.num_codes)
        metrics |= {f"perplexity_{level}": perplexity, f"codebook_usage_{level}": usage}
    return updates["codebook"], metrics


STAGE1 = Stage(
    "stage1",
    draw_autoencoder_inputs,
    autoencoder_loss,
    ("autoencoder",),
    "pictures",
    move_codebooks=move_codebooks,
)
