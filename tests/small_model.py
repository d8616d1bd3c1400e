"""A whole model of few and small layers, with fresh weights, as a checkpoint folder."""

import jax
import jax.numpy as jnp
from test_training import tiny_config

from vqad.training.checkpoints import save_weights
from vqad.training.config import model_from_config


def write_small_model(folder, size=(32, 32), lively=False):
    """Writes it; a lively one tells images apart, as if it were trained, by larger weights."""
    config = tiny_config()
    config.image_size = size
    model = model_from_config(config)
    variables = jax.jit(model.init)(jax.random.key(3), jnp.zeros((1, 32, 32, 3)))
    variables = {name: variables[name] for name in ("params", "codebook")}
    if lively:
        variables["codebook"] = jax.tree.map(lambda a: a * 0.1, variables["codebook"])
        for name in ("object_decoder", "detector", "upsampler"):
            larger = jax.tree.map(lambda a: a * 10, variables["params"][name])
            variables["params"][name] = larger
    metadata = {"model": config.model.to_dict(), "config": {"image_size": list(size)}}
    save_weights(str(folder), jax.device_get(variables), metadata)
    return folder
