"""Stage 2: restrictions, object-specific decoder and detector, jointly or in three parts.

In parts, each module is trained when those that it depends on are done: the restrictions on the
feature loss, a seventh of a joint step's arithmetic, then the object-specific decoder on the image
loss, then the detector.
"""

import dataclasses

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
from vqad.anomalies.marks import random_marks
from vqad.models.autoencoder import Encoding
from vqad.models.dsr import Dsr, Restored
from vqad.stages.losses import focal_loss, mean_squared_error
from vqad.stages.stage import Defects, Outcome, Settings, Stage, Variables, augmented


@flax.struct.dataclass
class SurfaceInputs:
    """What the losses of stage 2 are computed from; see ``surface_inputs``."""

    image: jax.Array  # I, float32 [n, h, w, 3] in [0, 1]
    draws: Disturbance  # anomalies; nothing of their masks is left on labelled images
    defects: Defects | None = None  # labelled defects in the batch, if any
    # With defects, float32 [n, h/8, w/8, 1]: 0 where nothing is to be restored, the same elsewhere,
    # with a mean of one over the whole batch.
    weight_lo: jax.Array | None = None
    marked: jax.Array | None = None  # I, marked where ``by_mark`` is set; None without marks
    marks: jax.Array | None = None  # where they are, float32 [n, h, w, 1] in {0, 1}
    by_mark: jax.Array | None = None  # bool [n], marked, no codes replaced


@flax.struct.dataclass
class Disturbed:
    """A batch before and after it was disturbed; nothing of it has a gradient."""

    encoding: Encoding  # of the undisturbed images
    values_lo: jax.Array  # disturbed Q_lo, float32 [n, h/8, w/8, d]
    values_hi: jax.Array  # disturbed Q_hi, float32 [n, h/4, w/4, d]
    target: jax.Array  # the detector's target mask, float32 [n, h, w, 1]


def surface_inputs(
    image: jax.Array, draws: Disturbance, defects: Defects | None = None
) -> SurfaceInputs:
    """Joins images float32 [n, h, w, 3] in [0, 1], anomalies and labelled defects of a whole batch.

    A labelled image is not disturbed: its own mask is the target. What lies under a real defect is
    unknown, so the errors of features and image count outside the defect only, and one position
    of the lo grid (8 pixels) away from it.
    """
    if defects is None:
        return SurfaceInputs(image, draws)
    drawn = jnp.where(broadcast(defects.labelled), 0, draws.mask)
    known = 1 - dilate(pool_mask(defects.mask, 8))
    # Where no position is known at all, all weights are 0.
    weight = known / jnp.maximum(known.mean(), 1 / known.size)
    return SurfaceInputs(image, dataclasses.replace(draws, mask=drawn), defects, weight)


def draw_surface_inputs(
    key: jax.Array, image: jax.Array, settings: Settings, defects: Defects | None = None
) -> SurfaceInputs:
    """Rotates some images float32 [n, h, w, 3] in [0, 1], defects too, and draws anomalies.

    Settings are ``rotation_probability``, ``gray_probability``, ``min_strength``, ``max_cells`` and
    ``mark_share``.
    """
    rotation_key, draws_key = jax.random.split(key)
    n, h, w, _ = image.shape
    image, defects = augmented(rotation_key, image, defects, settings)
    draws = draw_disturbance(draws_key, n, (h, w), settings["min_strength"], settings["max_cells"])
    inputs = surface_inputs(image, draws, defects)
    if not settings.get("mark_share", 0):
        return inputs
    share_key, mark_key = jax.random.split(jax.random.fold_in(draws_key, 1))
    by_mark = jax.random.bernoulli(share_key, settings["mark_share"], (n,))
    if defects is not None:
        by_mark &= ~defects.labelled
    marked, marks = random_marks(mark_key, image, settings["max_cells"])
    clean = jnp.where(broadcast(by_mark), 0, inputs.draws.mask)
    return dataclasses.replace(
        inputs,
        draws=dataclasses.replace(inputs.draws, mask=clean),
        marked=jnp.where(broadcast(by_mark), marked, image),
        marks=jnp.where(broadcast(by_mark), marks, 0),
        by_mark=by_mark,
    )


def restored_batch(
    model: Dsr, variables: Variables, inputs: SurfaceInputs
) -> tuple[Dsr, Disturbed, Restored]:
    """Encodes a batch, disturbs its codes or takes those of marked images, and restores them.

    Returned are the network, bound to its variables, codes before and after, and the restored.
    """
    net = model.bind(variables)
    encoding = net.autoencoder.encode(inputs.image)
    values_lo, values_hi, target = disturb(net, encoding, inputs.draws)
    if inputs.marked is not None and inputs.marks is not None and inputs.by_mark is not None:
        by_mark, marked = broadcast(inputs.by_mark), net.autoencoder.encode(inputs.marked)
        values_lo = jnp.where(by_mark, marked.lo.values, values_lo)
        values_hi = jnp.where(by_mark, marked.hi.values, values_hi)
        # Both levels see a mark, so that the target has the grid of lo.
        marks = pool_mask(inputs.marks, 8).repeat(8, 1).repeat(8, 2)
        target = jnp.where(by_mark, marks, target)
    if inputs.defects is not None:
        target = jnp.where(broadcast(inputs.defects.labelled), inputs.defects.mask, target)
    batch = jax.lax.stop_gradient(Disturbed(encoding, values_lo, values_hi, target))
    return net, batch, net.restore(batch.values_lo, batch.values_hi)


def feature_errors(
    restored: Restored, encoding: Encoding, inputs: SurfaceInputs
) -> dict[str, jax.Array]:
    """mse(F~, Q) of both levels, against the undisturbed Q, by metric name (DSR: feature loss).

    With ``model.code_units`` the errors are divided by the square of their unit.
    """
    weight_lo = inputs.weight_lo
    weight_hi = None if weight_lo is None else weight_lo.repeat(2, 1).repeat(2, 2)
    errors_hi = mean_squared_error(restored.features_hi, encoding.hi.values, weight_hi)
    errors_lo = mean_squared_error(restored.features_lo, encoding.lo.values, weight_lo)
    return {
        "features_hi": errors_hi / jnp.square(restored.unit_hi),
        "features_lo": errors_lo / jnp.square(restored.unit_lo),
    }


def image_error(specific: jax.Array, inputs: SurfaceInputs) -> jax.Array:
    """mse(I, I_spc), against the undisturbed I (DSR: image loss)."""
    weight = inputs.weight_lo
    if weight is not None:
        weight = weight.repeat(8, 1).repeat(8, 2)
    return mean_squared_error(inputs.image, specific, weight)


def detector_loss(
    model: Dsr, variables: Variables, inputs: SurfaceInputs, settings: Settings
) -> tuple[jax.Array, Outcome]:
    """Focal + lambda2 features + lambda3 image (DSR: stage 2 loss).

    Needs all variables but the upsampler's. lambda2 is the setting ``feature_weight``, lambda3
    ``image_weight``.
    """
    net, batch, restored = restored_batch(model, variables, inputs)
    specific = net.decode_specific(restored)
    focal, images = detection(net, batch, specific, inputs)
    errors = feature_errors(restored, batch.encoding, inputs)
    reconstruction = image_error(specific, inputs)
    features = settings["feature_weight"] * (errors["features_hi"] + errors["features_lo"])
    loss = focal + features + settings["image_weight"] * reconstruction
    metrics = {"loss": loss, "focal": focal, **errors, "reconstruction": reconstruction}
    return loss, Outcome(metrics, images)


def detection(
    net: Dsr, batch: Disturbed, specific: jax.Array, inputs: SurfaceInputs
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Loss of M, which sees I_spc and I_gen without their gradients; and images to look at.

    I_gen is decoded from the disturbed codes. DSR: focal loss.
    """
    upsampled_lo = net.autoencoder.upsample_lo(batch.values_lo)
    general = net.autoencoder.decode(upsampled_lo, batch.values_hi)
    logits = net.detect(jax.lax.stop_gradient(specific), jax.lax.stop_gradient(general))
    mask = jax.nn.softmax(logits)
    images = {
        "I": inputs.image,
        "I_gen": general,
        "I_spc": specific,
        "M": mask[..., 1:],
        "target": batch.target,
    }
    return focal_loss(mask, batch.target), images


STAGE2 = Stage(
    "stage2",
    draw_surface_inputs,
    detector_loss,
    ("restriction_hi", "restriction_lo", "object_decoder", "detector"),
    needs=("autoencoder",),
)


def restrictions_loss(
    model: Dsr, variables: Variables, inputs: SurfaceInputs, settings: Settings
) -> tuple[jax.Array, Outcome]:
    """mse(F~_hi, Q_hi) + mse(F~_lo, Q_lo), else as ``detector_loss`` (DSR: feature loss)."""
    _, batch, restored = restored_batch(model, variables, inputs)
    errors = feature_errors(restored, batch.encoding, inputs)
    loss = errors["features_hi"] + errors["features_lo"]
    return loss, Outcome({"loss": loss, **errors}, {"I": inputs.image, "target": batch.target})


def object_decoder_loss(
    model: Dsr, variables: Variables, inputs: SurfaceInputs, settings: Settings
) -> tuple[jax.Array, Outcome]:
    """mse(I, I_spc), from restored codes, else as ``detector_loss`` (DSR: image loss)."""
    net, batch, restored = restored_batch(model, variables, inputs)
    specific = net.decode_specific(jax.lax.stop_gradient(restored))
    loss = image_error(specific, inputs)
    images = {"I": inputs.image, "I_spc": specific, "target": batch.target}
    return loss, Outcome({"loss": loss, "reconstruction": loss}, images)


def detection_loss(
    model: Dsr, variables: Variables, inputs: SurfaceInputs, settings: Settings
) -> tuple[jax.Array, Outcome]:
    """Loss of M alone, else as ``detector_loss`` (DSR: focal loss)."""
    net, batch, restored = restored_batch(model, variables, inputs)
    specific = jax.lax.stop_gradient(net.decode_specific(restored))
    loss, images = detection(net, batch, specific, inputs)
    return loss, Outcome({"loss": loss, "focal": loss}, images)


RESTRICTIONS = Stage(
    "restrictions",
    draw_surface_inputs,
    restrictions_loss,
    ("restriction_hi", "restriction_lo"),
    needs=("autoencoder",),
)
OBJECT_DECODER = Stage(
    "object_decoder",
    draw_surface_inputs,
    object_decoder_loss,
    ("object_decoder",),
    needs=RESTRICTIONS.modules,
)
DETECTOR = Stage(
    "detector", draw_surface_inputs, detection_loss, ("detector",), needs=OBJECT_DECODER.modules
)
