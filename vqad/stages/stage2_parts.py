"""Stage 2 in three parts, one after the other, for a fraction of the arithmetic of the joint one.

The same losses and anomalies (DSR, section 3), but each module is trained when those that it
depends on are done: the restrictions on the feature loss, a seventh of a joint step's arithmetic,
then the object-specific decoder on the image loss, then the detector on the focal loss.
"""

import jax

from vqad.models.dsr import Dsr
from vqad.stages.stage import Outcome, Settings, Stage, Variables
from vqad.stages.stage2 import (
    SurfaceInputs,
    detection,
    draw_surface_inputs,
    feature_errors,
    image_error,
    restored_batch,
)


def restrictions_loss(
    model: Dsr, variables: Variables, inputs: SurfaceInputs, settings: Settings
) -> tuple[jax.Array, Outcome]:
    """mse(F~_hi, Q_hi) + mse(F~_lo, Q_lo); arguments and results as of ``detector_loss``."""
    _, batch, restored = restored_batch(model, variables, inputs)
    errors = feature_errors(restored, batch.encoding, inputs)
    loss = errors["features_hi"] + errors["features_lo"]
    return loss, Outcome({"loss": loss, **errors}, {"I": inputs.image, "target": batch.target})


def object_decoder_loss(
    model: Dsr, variables: Variables, inputs: SurfaceInputs, settings: Settings
) -> tuple[jax.Array, Outcome]:
    """mse(I, I_spc), from restored codes; arguments and results as of ``detector_loss``."""
    net, batch, restored = restored_batch(model, variables, inputs)
    specific = net.decode_specific(jax.lax.stop_gradient(restored))
    loss = image_error(specific, inputs)
    images = {"I": inputs.image, "I_spc": specific, "target": batch.target}
    return loss, Outcome({"loss": loss, "reconstruction": loss}, images)


def detection_loss(
    model: Dsr, variables: Variables, inputs: SurfaceInputs, settings: Settings
) -> tuple[jax.Array, Outcome]:
    """Focal loss of M; arguments and results as of ``detector_loss``."""
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
