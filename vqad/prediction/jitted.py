"""The one jitted prediction of a trained model, over one device or all of the process."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vqad import checkpoints
from vqad.kernels.compiler import compiler_options, in_full_products
from vqad.models.dsr import Dsr
from vqad.stages.stage3 import STAGE3
from vqad.training.initialization import variable_shapes
from vqad.training.sharding import Placement


def placement_for(split: str) -> Placement:
    """The devices of this process that predict: one, or all where these share something."""
    devices = jax.local_devices()
    return Placement.over_devices(devices=devices[:1] if split == "nothing" else devices)


def jit_predict(model: Dsr, split: str = "nothing") -> Callable[..., dict[str, jax.Array]]:
    """Jits prediction from all variables and images uint8 [n, h, w, 3]; see ``make_predict``."""
    placement = placement_for(split)
    images = placement.height if split == "height" else placement.batch

    @functools.partial(
        jax.jit,
        in_shardings=(placement.replicated, images),
        compiler_options=compiler_options(placement.platform),
    )
    @in_full_products
    def apply(variables: Mapping, image: jax.Array) -> dict[str, jax.Array]:
        found = model.apply(variables, image.astype(jnp.float32) / 255)
        return {
            "score": found.score,
            "mask": found.upsampled_mask[..., 1],
            "general": found.general,
            "specific": found.specific,
        }

    return apply


def make_predict(
    model: Dsr, variables: Mapping, split: str = "nothing"
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Builds a jitted prediction function.

    Args:
      model: the network.
      variables: all its variables.
      split: what the devices of this process share: ``nothing``, so that one of them works,
        ``images`` of a batch or their ``height``. XLA's partitioner then has neighbours exchange
        the rows that convolutions need, and sums the instance norms' means over all.

    Returns:
      A function of images uint8 [n, h, w, 3] to NumPy arrays: ``score`` [n], ``mask`` [n, h, w]
      (channel 1 of M_up), ``general`` and ``specific`` [n, h, w, 3], float32.
    """
    apply, variables = jit_predict(model, split), placement_for(split).put(variables)
    return lambda image: jax.device_get(apply(variables, image))


def whole_variables(model: Dsr, variables: Mapping, name: str) -> dict:
    """Variables of all parts of a model, taken from a checkpoint's.

    Args:
      model: the network.
      variables: the checkpoint's.
      name: what a message calls it.

    Raises:
      VqadError: a part is missing or has other sizes.
    """
    return checkpoints.merge(variable_shapes(model, STAGE3), variables, name)
