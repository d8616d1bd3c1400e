"""The three stages: for each a loss and the modules that it trains (DSR, section 3)."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from vqad.models.autoencoder import Encoding
from vqad.models.dsr import Dsr
from vqad.synthesis.codes import dilate, draw_ranks, pool_mask, replace_codes, target_mask
from vqad.synthesis.disturbance import Disturbance, broadcast, draw_disturbance
from vqad.synthesis.gray import random_gray
from vqad.synthesis.rotation import random_rotation
from vqad.synthesis.smudge import random_smudges
from vqad.training.losses import focal_loss, mean_squared_error

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
      metrics: float32 scalars by name.
      images: float32 [n, h, w, 3 or 1] by name, for a person to look at.
      codebook: the codebooks after this step, or None where they are frozen.
    """

    metrics: dict[str, jax.Array]
    images: dict[str, jax.Array]
    codebook: Any = None


def autoencoder_loss(
    model: Dsr,
    variables: Variables,
    image: jax.Array,
    key: jax.Array,
    keep_hi: jax.Array | None = None,
) -> tuple[jax.Array, Outcome]:
    """Stage 1: mse(I, I_gen) and the commitment losses of both levels; moves the codebooks.

    Args:
      model: the network.
      variables: its variables; needs the autoencoder's only.
      image: I, float32 [n, h, w, 3] in [0, 1].
      key: random key, for codes that are re-seeded.
      keep_hi: bool [n, 1, 1, 1], images that are decoded from both levels, the others from lo
        alone; all if None.

    Returns:
      The loss, float32 scalar, and the outcome.
    """
    (general, encoding), updates = model.apply(
        variables,
        image,
        train=True,
        keep_hi=keep_hi,
        method="reconstruct",
        mutable=["codebook"],
        rngs={"codebook": key},
    )
    reconstruction = mean_squared_error(image, general)
    loss = reconstruction + encoding.lo.commitment + encoding.hi.commitment
    metrics = {"loss": loss, "reconstruction": reconstruction}
    for level, quantized in (("lo", encoding.lo), ("hi", encoding.hi)):
        metrics[f"commitment_{level}"] = quantized.commitment
        metrics[f"perplexity_{level}"] = quantized.perplexity
        metrics[f"codebook_usage_{level}"] = quantized.usage
    return loss, Outcome(metrics, {"I": image, "I_gen": general}, updates["codebook"])


def random_autoencoder_loss(
    model: Dsr,
    variables: Variables,
    image: jax.Array,
    key: jax.Array,
    settings: Mapping[str, Any],
    defects: None = None,
) -> tuple[jax.Array, Outcome]:
    """Stage 1: makes some images grey, drops hi from some, returns ``autoencoder_loss``.

    Args:
      model: the network.
      variables: its variables; needs the autoencoder's only.
      image: float32 [n, h, w, 3] in [0, 1].
      key: random key.
      settings: ``gray_probability``, ``hi_dropout``.
      defects: nothing; pictures have no labelled defects.

    Returns:
      The loss, float32 scalar, and the outcome.
    """
    gray_key, codes_key, drop_key = jax.random.split(key, 3)
    image = random_gray(gray_key, image, settings["gray_probability"])
    keep_hi = None
    if settings["hi_dropout"] > 0:
        shape = (image.shape[0], 1, 1, 1)
        keep_hi = jax.random.bernoulli(drop_key, 1 - settings["hi_dropout"], shape)
    return autoencoder_loss(model, variables, image, codes_key, keep_hi)


def disturb(
    model: Dsr, encoding: Encoding, draws: Disturbance
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Disturbs the codes of a batch: both levels, or one.

    Args:
      model: the network, bound to its variables.
      encoding: the undisturbed encoding.
      draws: what was drawn for the batch.

    Returns:
      Disturbed Q_lo and Q_hi, float32, and the detector's target mask [n, h, w, 1].
    """
    autoencoder = model.autoencoder
    book_lo, book_hi = autoencoder.quantizer_lo.codes.value, autoencoder.quantizer_hi.codes.value
    ranks_lo = draw_ranks(draws.uniform_lo, draws.strength_lo, len(book_lo))
    ranks_hi = draw_ranks(draws.uniform_hi, draws.strength_hi, len(book_hi))
    anomalous_lo = replace_codes(
        encoding.features_lo, encoding.lo.values, book_lo, draws.mask, ranks_lo
    )
    values_lo = jnp.where(broadcast(draws.lo), anomalous_lo, encoding.lo.values)
    # With both levels disturbed, hi is ranked and quantized anew around the disturbed lo.
    both = broadcast(draws.use_both)
    _, features_given_lo = autoencoder.features_hi(encoding.hidden_hi, anomalous_lo)
    features_hi = jnp.where(both, features_given_lo, encoding.features_hi)
    values_hi = jnp.where(
        both, autoencoder.quantizer_hi(features_given_lo).values, encoding.hi.values
    )
    anomalous_hi = replace_codes(features_hi, values_hi, book_hi, draws.mask, ranks_hi)
    values_hi = jnp.where(broadcast(draws.hi), anomalous_hi, encoding.hi.values)
    return values_lo, values_hi, target_mask(draws.mask, draws.lo)


def detector_loss(
    model: Dsr,
    variables: Variables,
    image: jax.Array,
    draws: Disturbance,
    feature_weight: float = 1.0,
    image_weight: float = 10.0,
    defects: Defects | None = None,
) -> tuple[jax.Array, Outcome]:
    """Stage 2's loss for given draws: focal + lambda2 features + lambda3 image.

    With ``model.code_units`` the errors of the features are divided by the square of their unit.
    A labelled image is not disturbed: its own mask is the target. What lies under a real defect is
    unknown, so the errors of features and image count outside the defect only, and one position
    of the lo grid (8 pixels) away from it.

    Args:
      model: the network.
      variables: its variables, all but the upsampler's.
      image: I, float32 [n, h, w, 3] in [0, 1].
      draws: the anomalies of the batch.
      feature_weight: lambda2.
      image_weight: lambda3.
      defects: labelled defects in the batch, if any.

    Returns:
      The loss, float32 scalar, and the outcome.
    """
    net = model.bind(variables)
    encoding = jax.lax.stop_gradient(net.autoencoder.encode(image))
    if defects is not None:
        drawn = jnp.where(broadcast(defects.labelled), 0, draws.mask)
        draws = draws.replace(mask=drawn)
    values_lo, values_hi, target = jax.lax.stop_gradient(disturb(net, encoding, draws))
    known_lo = known_hi = known = None
    if defects is not None:
        target = jnp.where(broadcast(defects.labelled), defects.mask, target)
        known_lo = 1 - dilate(pool_mask(defects.mask, 8))
        known_hi = known_lo.repeat(2, 1).repeat(2, 2)
        known = known_lo.repeat(8, 1).repeat(8, 2)
    general = net.autoencoder.decode(net.autoencoder.upsample_lo(values_lo), values_hi)
    restored = net.restore(values_lo, values_hi)
    specific = net.decode_specific(restored)
    logits = net.detect(jax.lax.stop_gradient(specific), jax.lax.stop_gradient(general))
    mask = jax.nn.softmax(logits)
    focal = focal_loss(mask, target)
    features_hi = mean_squared_error(restored.features_hi, encoding.hi.values, known_hi)
    features_hi /= jnp.square(restored.unit_hi)
    features_lo = mean_squared_error(restored.features_lo, encoding.lo.values, known_lo)
    features_lo /= jnp.square(restored.unit_lo)
    reconstruction = mean_squared_error(image, specific, known)
    loss = focal + feature_weight * (features_hi + features_lo) + image_weight * reconstruction
    metrics = {
        "loss": loss,
        "focal": focal,
        "features_hi": features_hi,
        "features_lo": features_lo,
        "reconstruction": reconstruction,
    }
    images = {"I": image, "I_gen": general, "I_spc": specific, "M": mask[..., 1:], "target": target}
    return loss, Outcome(metrics, images)


def random_detector_loss(
    model: Dsr,
    variables: Variables,
    image: jax.Array,
    key: jax.Array,
    settings: Mapping[str, Any],
    defects: Defects | None = None,
) -> tuple[jax.Array, Outcome]:
    """Stage 2: rotates some images, draws anomalies, returns ``detector_loss``.

    Args:
      model: the network.
      variables: its variables, all but the upsampler's.
      image: float32 [n, h, w, 3] in [0, 1].
      key: random key.
      settings: ``rotation_probability``, ``min_strength``, ``max_cells``, ``feature_weight``,
        ``image_weight``.
      defects: labelled defects in the batch, if any; turned with their images.

    Returns:
      The loss, float32 scalar, and the outcome.
    """
    rotation_key, draws_key = jax.random.split(key)
    n, h, w, _ = image.shape
    image, defects = _turned(rotation_key, image, defects, settings["rotation_probability"])
    draws = draw_disturbance(draws_key, n, (h, w), settings["min_strength"], settings["max_cells"])
    weights = settings["feature_weight"], settings["image_weight"]
    return detector_loss(model, variables, image, draws, *weights, defects)


def _turned(
    key: jax.Array, image: jax.Array, defects: Defects | None, probability: float
) -> tuple[jax.Array, Defects | None]:
    """Rotates some images, and the masks of labelled defects with them."""
    if defects is None:
        return random_rotation(key, image, probability), None
    both = jnp.concatenate([image, defects.mask], axis=-1)
    both = random_rotation(key, both, probability)
    # A quarter of a pixel is enough, as where masks are resized: thin defects stay.
    return both[..., :3], defects.replace(mask=(both[..., 3:] >= 0.25).astype(jnp.float32))


def upsampler_loss(
    model: Dsr, variables: Variables, image: jax.Array, mask: jax.Array
) -> tuple[jax.Array, Outcome]:
    """Stage 3's loss for given images: focal loss of M_up against the full-resolution mask.

    Args:
      model: the network.
      variables: all its variables.
      image: smudged images, float32 [n, h, w, 3].
      mask: where they are smudged, float32 [n, h, w, 1].

    Returns:
      The loss, float32 scalar, and the outcome.
    """
    net = model.bind(variables)
    _, _, general, specific, logits = jax.lax.stop_gradient(net.compare(image))
    detector_mask = jax.nn.softmax(logits)
    upsampled = jax.nn.softmax(net.upsample(specific, general, detector_mask))
    loss = focal_loss(upsampled, mask)
    images = {
        "I": image,
        "I_gen": general,
        "I_spc": specific,
        "M": detector_mask[..., 1:],
        "M_up": upsampled[..., 1:],
        "target": mask,
    }
    return loss, Outcome({"loss": loss, "focal": loss}, images)


def random_upsampler_loss(
    model: Dsr,
    variables: Variables,
    image: jax.Array,
    key: jax.Array,
    settings: Mapping[str, Any],
    defects: Defects | None = None,
) -> tuple[jax.Array, Outcome]:
    """Stage 3: rotates some images, smudges half of them, returns ``upsampler_loss``.

    Labelled images are not smudged; their own full-resolution mask is the target.

    Args:
      model: the network.
      variables: all its variables.
      image: float32 [n, h, w, 3] in [0, 1].
      key: random key.
      settings: ``rotation_probability``, ``max_cells``.
      defects: labelled defects in the batch, if any; turned with their images.

    Returns:
      The loss, float32 scalar, and the outcome.
    """
    rotation_key, smudge_key = jax.random.split(key)
    image, defects = _turned(rotation_key, image, defects, settings["rotation_probability"])
    smudged, mask = random_smudges(smudge_key, image, settings["max_cells"])
    if defects is not None:
        labelled = broadcast(defects.labelled)
        smudged = jnp.where(labelled, image, smudged)
        mask = jnp.where(labelled, defects.mask, mask)
    return upsampler_loss(model, variables, smudged, mask)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of training.

    Attributes:
      name: ``stage1``, ``stage2`` or ``stage3``.
      loss: (model, variables, image, key, settings, defects) to loss and outcome.
      trains: top-level modules whose parameters it trains.
      source: field of the configuration that names its images: ``pictures``, of which it takes
        random parts, or ``surface``.
      needs: stage whose checkpoint it starts from, if any.
      trains_codebook: whether the codebooks move.
    """

    name: str
    loss: Callable[..., tuple[jax.Array, Outcome]]
    trains: tuple[str, ...]
    source: str = "surface"
    needs: str | None = None
    trains_codebook: bool = False


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "stage1", random_autoencoder_loss, ("autoencoder",), "pictures", trains_codebook=True
        ),
        Stage(
            "stage2",
            random_detector_loss,
            ("restriction_hi", "restriction_lo", "object_decoder", "detector"),
            needs="stage1",
        ),
        Stage("stage3", random_upsampler_loss, ("upsampler",), needs="stage2"),
    )
}


def modules_before(stage: Stage) -> tuple[str, ...]:
    """Modules that the stages before this one train."""
    if stage.needs is None:
        return ()
    before = STAGES[stage.needs]
    return modules_before(before) + before.trains
