"""Stage 1: the discrete autoencoder and its codebooks."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from vqad.anomalies.augment import random_gray
from vqad.models.dsr import Dsr
from vqad.models.quantizer import perplexity_and_usage
from vqad.stages.losses import mean_squared_error
from vqad.stages.stage import Outcome, Settings, Stage, Variables

# A channel that a relu (nearly) holds at zero, next to the others, is not blown up to their size.
_DEAD = 1e-3


@flax.struct.dataclass
class AutoencoderInputs:
    """What stage 1's loss is computed from."""

    image: jax.Array  # I, float32 [n, h, w, 3] in [0, 1]
    # bool [n, 1, 1, 1], images that are decoded from both levels, not lo alone; all if None
    keep_hi: jax.Array | None = None


def _keys(key: jax.Array) -> jax.Array:
    """For grey images, codes that are re-seeded, and images without hi."""
    return jax.random.split(key, 3)


def draw_autoencoder_inputs(
    key: jax.Array, image: jax.Array, settings: Settings, defects: None = None
) -> AutoencoderInputs:
    """Makes some images grey (``gray_probability``) and drops hi from some (``hi_dropout``)."""
    gray_key, _, drop_key = _keys(key)
    image = random_gray(gray_key, image, settings["gray_probability"])
    keep_hi = None
    if settings["hi_dropout"] > 0:
        shape = (image.shape[0], 1, 1, 1)
        keep_hi = jax.random.bernoulli(drop_key, 1 - settings["hi_dropout"], shape)
    return AutoencoderInputs(image, keep_hi)


def autoencoder_loss(
    model: Dsr, variables: Variables, inputs: AutoencoderInputs, settings: Settings | None = None
) -> tuple[jax.Array, Outcome]:
    """mse(I, I_gen) and the commitment losses of both levels (DSR: stage 1 loss).

    The outcome keeps features and codes of both levels. Needs the autoencoder's variables only.
    """
    net = model.bind(variables)
    general, encoding = net.reconstruct(inputs.image, inputs.keep_hi)
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


def ema_update(
    model: Dsr, variables: Variables, kept: Mapping[str, Any], key: jax.Array
) -> tuple[Any, dict[str, jax.Array]]:
    """Updates both codebooks by the statistics of a whole batch (DSR: codebook update).

    The loss kept features [n, h, w, d] and codes [n, h, w] by level; the key is for codes that are
    re-seeded. Returned are the codebooks, and ``perplexity`` and ``codebook_usage`` of each level.
    """
    _, updates = model.apply(
        variables,
        **kept,
        method="ema_update",
        mutable=["codebook"],
        rngs={"codebook": _keys(key)[1]},
    )
    metrics: dict[str, jax.Array] = {}
    for level, (_, codes) in kept.items():
        perplexity, usage = perplexity_and_usage(codes, model.num_codes)
        metrics |= {f"perplexity_{level}": perplexity, f"codebook_usage_{level}": usage}
    return updates["codebook"], metrics


@partial(jax.jit, static_argnums=0)
def standardize_features(model: Dsr, variables: Mapping, image: jax.Array) -> dict:
    """Scales the 1x1 convolutions in front of the quantizers so that F_lo and F_hi are standard.

    PyTorch's default initialisation shrinks what passes through a layer, so that the lo level may
    never come to carry anything. After Salimans and Kingma, "Weight Normalization" (2016), section
    3, one batch float32 [n, h, w, 3] in [0, 1] sets the scale: over it, the channels of F_lo and of
    F_hi (of the unquantized F_lo) have mean 0 and variance 1.
    """
    net = model.bind(variables).autoencoder
    hidden_hi = net.encoder_hi(image)
    hidden_lo = net.encoder_lo(hidden_hi)
    params = dict(variables["params"]["autoencoder"])
    params["pre_quantizer_lo"], features_lo = _standardize(params["pre_quantizer_lo"], hidden_lo)
    joined = jnp.concatenate([hidden_hi, net.upsample_lo(features_lo)], axis=-1)
    params["pre_quantizer_hi"], _ = _standardize(params["pre_quantizer_hi"], joined)
    return {**variables, "params": {**variables["params"], "autoencoder": params}}


def _standardize(params: Mapping, x: jax.Array) -> tuple[dict, jax.Array]:
    """Rescaled kernel and bias of a 1x1 convolution, and what it gives for x [n, h, w, ci] then."""
    x = x.astype(jnp.float32)
    mean, deviation = x.mean((0, 1, 2)), x.std((0, 1, 2))
    largest = deviation.max()
    deviation = jnp.where(deviation > _DEAD * largest, deviation, jnp.maximum(largest, _DEAD))
    kernel = params["kernel"][0, 0] / deviation[:, None]
    output = ((x - mean) @ kernel).std((0, 1, 2))
    kernel /= jnp.where(output > 0, output, 1)
    bias = -mean @ kernel
    return {"kernel": kernel[None, None], "bias": bias}, x @ kernel + bias


def standardized(
    model: Dsr, variables: Variables, image: jax.Array, settings: Settings, key: jax.Array
) -> Variables:
    """Fresh variables whose features are standard on a first batch, if the settings say so."""
    if not settings["standardize_features"]:
        return variables
    image = random_gray(key, image, settings["gray_probability"])
    return standardize_features(model, variables, image)


STAGE1 = Stage(
    "stage1",
    draw_autoencoder_inputs,
    autoencoder_loss,
    ("autoencoder",),
    source="pictures",
    ema_update=ema_update,
    initialize=standardized,
)
