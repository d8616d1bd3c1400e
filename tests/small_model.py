"""A whole model of few and small layers, with fresh weights, as a checkpoint folder."""

import jax
import jax.numpy as jnp
from test_training import tiny_config

from vqad.training.checkpoints import save_weights
from vqad.training.config import model_from_config


def write_small_model(folder, size=(32, 32), codes=1.0):
    """Writes it; the books' codes are multiplied by `codes`: small ones are used by all images."""
    config = tiny_config()
    config.image_size = size
    model = model_from_config(config)
    variables = jax.jit(model.init)(jax.random.key(3), jnp.zeros((1, 32, 32, 3)))
    variables = {name: variables[name] for name in ("params", "codebook")}
    variables["codebook"] = jax.tree.map(lambda a: a * codes, variables["codebook"])
    metadata = {"model": config.model.to_dict(), "config": {"image_size": list(size)}}
    save_weights(str(folder), jax.device_get(variables), metadata)
    return folder
