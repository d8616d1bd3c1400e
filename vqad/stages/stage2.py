"""Stage 2: restrictions, object-specific decoder and detector (DSR, section 3)."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from vqad.anomalies.features import (
    Disturbance,
    broadcast,
    dilate,
    disturb,
    draw_disturbance,
    pool_mask,
)
from vqad.models.dsr import Dsr
from vqad.stages.losses import focal_loss, mean_squared_error
from vqad.stages.stage import Defects, Outcome, Stage, Variables, turn


@flax.struct.dataclass
class DetectorInputs:
    """What stage 2's loss is computed from; see ``detector_inputs``.

    Attributes:
      image: I, float32 [n, h, w, 3] in [0, 1].
      draws: the anomalies of the batch; nothing of their masks is left on labelled images.
      defects: labelled defects in the batch, if any.
      weight_lo: with defects, float32 [n, h/8, w/8, 1]: 0 where nothing is to be restored, the
        same elsewhere, with a mean of one over the whole batch.
    """

    image: jax.Array
    draws: Disturbance
    defects: Defects | None = None
    weight_lo: jax.Array | None = None


def detector_inputs(
    image: jax.Array, draws: Disturbance, defects: Defects | None = None
) -> DetectorInputs:
    """Joins images, anomalies and labelled defects of a whole batch.

    A labelled image is not disturbed: its own mask is the target. What lies under a real defect is
    unknown, so the errors of features and image count outside the defect only, and one position
    of the lo grid (8 pixels) away from it.

    Args:
      image: I, float32 [n, h, w, 3] in [0, 1].
      draws: the anomalies of the batch.
      defects: labelled defects in the batch, if any.

    Returns:
      The loss's inputs.
    """
    if defects is None:
        return DetectorInputs(image, draws)
    drawn = jnp.where(broadcast(defects.labelled), 0, draws.mask)
    known = 1 - dilate(pool_mask(defects.mask, 8))
    # Where no position is known at all, all weights are 0.
    weight = known / jnp.maximum(known.mean(), 1 / known.size)
    return DetectorInputs(image, draws.replace(mask=drawn), defects, weight)


def draw_detector_inputs(
    key: jax.Array,
    image: jax.Array,
    settings: Mapping[str, Any],
    defects: Defects | None = None,
) -> DetectorInputs:
    """Rotates some images and draws anomalies.

    Args:
      key: random key of the step.
      image: float32 [n, h, w, 3] in [0, 1].
      settings: ``rotation_probability``, ``min_strength``, ``max_cells``.
      defects: labelled defects in the batch, if any; turned with their images.

    Returns:
      The loss's inputs.
    """
    rotation_key, draws_key = jax.random.split(key)
    n, h, w, _ = image.shape
    image, defects = turn(rotation_key, image, defects, settings["rotation_probability"])
    draws = draw_disturbance(draws_key, n, (h, w), settings["min_strength"], settings["max_cells"])
    return detector_inputs(image, draws, defects)


def detector_loss(
    model: Dsr, variables: Variables, inputs: DetectorInputs, settings: Mapping[str, Any]
) -> tuple[jax.Array, Outcome]:
    """Focal + lambda2 features + lambda3 image.

    With ``model.code_units`` the errors of the features are divided by the square of their unit.

    Args:
      model: the network.
      variables: its variables, all but the upsampler's.
      inputs: images, anomalies and labelled defects.
      settings: ``feature_weight`` (lambda2), ``image_weight`` (lambda3).

    Returns:
      The loss, float32 scalar, and the outcome.
    """
    net = model.bind(variables)
    image, defects = inputs.image, inputs.defects
    encoding = jax.lax.stop_gradient(net.autoencoder.encode(image))
    values_lo, values_hi, target = jax.lax.stop_gradient(disturb(net, encoding, inputs.draws))
    weight_lo = weight_hi = weight = None
    if defects is not None:
        target = jnp.where(broadcast(defects.labelled), defects.mask, target)
        weight_lo = inputs.weight_lo
        weight_hi = weight_lo.repeat(2, 1).repeat(2, 2)
        weight = weight_lo.repeat(8, 1).repeat(8, 2)
    general = net.autoencoder.decode(net.autoencoder.upsample_lo(values_lo), values_hi)
    restored = net.restore(values_lo, values_hi)
    specific = net.decode_specific(restored)
    logits = net.detect(jax.lax.stop_gradient(specific), jax.lax.stop_gradient(general))
    mask = jax.nn.softmax(logits)
    focal = focal_loss(mask, target)
    features_hi = mean_squared_error(restored.features_hi, encoding.hi.values, weight_hi)
    features_hi /= jnp.square(restored.unit_hi)
    features_lo = mean_squared_error(restored.features_lo, encoding.lo.values, weight_lo)
    features_lo /= jnp.square(restored.unit_lo)
    reconstruction = mean_squared_error(image, specific, weight)
    features = settings["feature_weight"] * (features_hi + features_lo)
    loss = focal + features + settings["image_weight"] * reconstruction
    metrics = {
        "loss": loss,
        "focal": focal,
        "features_hi": features_hi,
        "features_lo": features_lo,
        "reconstruction": reconstruction,
    }
    images = {"I": image, "I_gen": general, "I_spc": specific, "M": mask[..., 1:], "target": target}
    return loss, Outcome(metrics, images)


STAGE2 = Stage(
    "stage2",
    draw_detector_inputs,
    detector_loss,
    ("restriction_hi", "restriction_lo", "object_decoder", "detector"),
    needs="stage1",
)
