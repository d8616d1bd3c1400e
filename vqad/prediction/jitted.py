"""The one jitted prediction of a trained model, over one device or all of the process."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vqad.kernels.compiler import in_full_products
from vqad.models.dsr import Dsr
from vqad.training.sharding import Shardings

OUTPUTS = ("score", "mask", "general", "specific")
CODES = ("encoding_lo", "encoding_hi", "restored_lo", "restored_hi")

Predict = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def shardings_for(split: str) -> Shardings:
    """The devices of this process that predict: one, or all where these share something."""
    devices = jax.local_devices()
    return Shardings.over_devices(devices=devices[:1] if split == "nothing" else devices)


def prediction(
    model: Dsr, outputs: Sequence[str] = OUTPUTS
) -> Callable[[Mapping, jax.Array], dict[str, jax.Array]]:
    """What a trained model says of images, in full products on every platform; to be jitted.

    Returns:
      A function of variables and images uint8 [n, h, w, 3] to the wanted of these outputs:
      ``score`` [n], ``mask`` [n, h, w] (channel 1 of M_up, of M before there is an upsampler),
      ``general`` and ``specific`` [n, h, w, 3], float32, and the codes of the four quantizations
      under the names in ``CODES``, int32 [n, h/8, w/8] (lo) and [n, h/4, w/4] (hi).
    """

    @in_full_products
    def predict(variables: Mapping, image: jax.Array) -> dict[str, jax.Array]:
        upsampled = "upsampler" in variables["params"]
        found = model.apply(variables, image.astype(jnp.float32) / 255, upsampled)
        levels = (found.encoding.lo, found.encoding.hi, found.restored.lo, found.restored.hi)
        every = {
            "score": found.score,
            "mask": found.upsampled_mask[..., 1],
            "general": found.general,
            "specific": found.specific,
            **{name: level.codes for name, level in zip(CODES, levels, strict=True)},
        }
        return {name: every[name] for name in outputs}

    return predict


def jit_predict(
    model: Dsr, split: str = "nothing", outputs: Sequence[str] = OUTPUTS
) -> Callable[..., dict[str, jax.Array]]:
    """Jits ``prediction``; see ``make_predict``."""
    shardings = shardings_for(split)
    images = shardings.height if split == "height" else shardings.batch
    return jax.jit(prediction(model, outputs), in_shardings=(shardings.replicated, images))


def make_predict(
    model: Dsr, variables: Mapping, split: str = "nothing", outputs: Sequence[str] = OUTPUTS
) -> Predict:
    """Builds the jitted prediction of images uint8 [n, h, w, 3]; NumPy arrays as of ``prediction``.

    The devices of this process share ``nothing``, so that one of them works, the ``images`` of a
    batch or their ``height``, as ``split`` says.
    """
    apply, variables = jit_predict(model, split, outputs), shardings_for(split).put(variables)
    return lambda image: jax.device_get(apply(variables, image))
