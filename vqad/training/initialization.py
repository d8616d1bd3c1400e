"""Variables at the start of a stage: fresh, from an earlier stage's checkpoint, or set by data."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from vqad import checkpoints
from vqad.errors import VqadError
from vqad.models.dsr import Dsr
from vqad.models.image_shape import SIDE_MULTIPLE
from vqad.models.initializers import host_key
from vqad.stages import modules_before
from vqad.stages.stage import Stage
from vqad.training.step import step_key

# A channel that a relu (nearly) holds at zero, next to the others, is not blown up to their size.
_DEAD = 1e-3


def initial_variables(
    model: Dsr, stage: Stage, seed: int, earlier: tuple[str, Mapping] | None
) -> dict:
    """Variables at the start of a stage: fresh for what it trains, the checkpoint's for the rest.

    Args:
      model: the network.
      stage: the stage.
      seed: seed of the initialisation.
      earlier: name and variables of the checkpoint that it starts from, None for stage 1.

    Returns:
      ``{"params", "codebook"}`` of the modules that exist after this stage, NumPy arrays.

    Raises:
      VqadError: that checkpoint lacks arrays or has them in other shapes, or JAX may not use the
        host.
    """
    fresh = fresh_variables(model, stage, step_key(seed, "init", jnp.int32(0)))
    if earlier is None:
        return fresh
    name, found = earlier
    kept = {name: fresh["params"][name] for name in modules_before(stage)}
    target = {"params": kept, "codebook": fresh["codebook"]}
    merged = checkpoints.merge(target, found, name)
    trained = {name: fresh["params"][name] for name in stage.trains}
    return {"params": {**merged["params"], **trained}, "codebook": merged["codebook"]}


def fresh_variables(model: Dsr, stage: Stage, key: jax.Array) -> dict:
    """Variables of the modules that exist after a stage, all drawn anew; NumPy arrays.

    Args:
      model: the network.
      stage: the stage.
      key: what they are drawn with.

    Raises:
      VqadError: JAX may not use the host.
    """
    with jax.default_device(_host()):
        return jax.device_get(_fresh_variables(model, _method(stage), key))


def variable_shapes(model: Dsr, stage: Stage) -> dict:
    """Shapes and dtypes of what ``initial_variables`` returns."""
    fresh = _fresh_variables.eval_shape(model, _method(stage), jax.random.key(0))
    names = (*modules_before(stage), *stage.trains)
    return {**fresh, "params": {name: fresh["params"][name] for name in names}}


@partial(jax.jit, static_argnames=("model", "method"))
def _fresh_variables(model: Dsr, method: str, key: jax.Array) -> dict:
    image = jnp.zeros((1, SIDE_MULTIPLE, SIDE_MULTIPLE, 3))
    variables = model.init(host_key(key), image, method=method)
    return {"params": variables["params"], "codebook": variables["codebook"]}


def _method(stage: Stage) -> str:
    """The method of the network that uses all modules that exist after a stage."""
    return "reconstruct" if stage.needs is None else "__call__"


def _host() -> jax.Device:
    """Where parameters are drawn: outside of accelerators, each of which is given only its part.

    Raises:
      VqadError: JAX may not use the host.
    """
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise VqadError(
            f"JAX_PLATFORMS={jax.config.jax_platforms}: initial parameters are drawn on the host; "
            f"give JAX_PLATFORMS={jax.config.jax_platforms},cpu"
        ) from error


@partial(jax.jit, static_argnums=0)
def standardize_features(model: Dsr, variables: Mapping, image: jax.Array) -> dict:
    """Scales the 1x1 convolutions in front of the quantizers so that F_lo and F_hi are standard.

    PyTorch's default initialisation shrinks what passes through a layer, so that F_lo starts with a
    deviation of a few thousandths. A codebook that is seeded from it starts there too, and the lo
    level may never come to carry anything. After Salimans and Kingma, "Weight Normalization"
    (2016), section 3, one batch sets the scale: each input channel of these convolutions is
    standardized, and each output channel.

    Args:
      model: the network.
      variables: fresh variables of the autoencoder.
      image: one batch, float32 [n, h, w, 3] in [0, 1].

    Returns:
      The variables, with each channel of F_lo and of F_hi (of the unquantized F_lo) at mean 0 and
      variance 1 over the batch.
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
