"""Stage 3: the upsampler."""

import flax.struct
import jax
import jax.numpy as jnp

from vqad.anomalies.features import broadcast
from vqad.anomalies.marks import random_marks
from vqad.anomalies.smudge import random_smudges
from vqad.models.dsr import Dsr
from vqad.stages.losses import focal_loss
from vqad.stages.stage import MODULES, Defects, Outcome, Settings, Stage, Variables, augmented


@flax.struct.dataclass
class UpsamplerInputs:
    """Smudged images, float32 [n, h, w, 3] in [0, 1], and where, float32 [n, h, w, 1] in {0, 1}."""

    image: jax.Array
    mask: jax.Array


def draw_upsampler_inputs(
    key: jax.Array, image: jax.Array, settings: Settings, defects: Defects | None = None
) -> UpsamplerInputs:
    """Rotates some images float32 [n, h, w, 3] in [0, 1] and smudges half of them, or marks some.

    Labelled images are not smudged; their own full-resolution mask, turned too, is the target.
    Settings are ``rotation_probability``, ``gray_probability``, ``max_cells`` and ``mark_share``.
    """
    rotation_key, smudge_key = jax.random.split(key)
    image, defects = augmented(rotation_key, image, defects, settings)
    smudged, mask = random_smudges(smudge_key, image, settings["max_cells"])
    if settings.get("mark_share", 0):
        share_key, mark_key = jax.random.split(jax.random.fold_in(smudge_key, 1))
        marked, marks = random_marks(mark_key, image, settings["max_cells"])
        by_mark = jax.random.bernoulli(share_key, settings["mark_share"], (len(image), 1, 1, 1))
        smudged, mask = jnp.where(by_mark, marked, smudged), jnp.where(by_mark, marks, mask)
    if defects is not None:
        labelled = broadcast(defects.labelled)
        smudged = jnp.where(labelled, image, smudged)
        mask = jnp.where(labelled, defects.mask, mask)
    return UpsamplerInputs(smudged, mask)


def upsampler_loss(
    model: Dsr, variables: Variables, inputs: UpsamplerInputs, settings: Settings | None = None
) -> tuple[jax.Array, Outcome]:
    """Focal loss of M_up against the full-resolution mask (DSR: stage 3 loss)."""
    net = model.bind(variables)
    _, _, general, specific, logits = jax.lax.stop_gradient(net.compare(inputs.image))
    detector_mask = jax.nn.softmax(logits)
    upsampled = jax.nn.softmax(net.upsample(specific, general, detector_mask))
    loss = focal_loss(upsampled, inputs.mask)
    images = {
        "I": inputs.image,
        "I_gen": general,
        "I_spc": specific,
        "M": detector_mask[..., 1:],
        "M_up": upsampled[..., 1:],
        "target": inputs.mask,
    }
    return loss, Outcome({"loss": loss, "focal": loss}, images)


STAGE3 = Stage("stage3", draw_upsampler_inputs, upsampler_loss, ("upsampler",), needs=MODULES[:-1])
