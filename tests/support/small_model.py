"""A whole model of few and small layers, with fresh weights, as a checkpoint folder."""

import jax
import jax.numpy as jnp
import numpy as np
from tiny import tiny_config

import vqad
from vqad.checkpoints import save_weights
from vqad.config import model_from_config
from vqad.models.initializers import host_key
from vqad.prediction import thresholds


def _enliven(model, variables):
    """Larger kernels, and codes that are features of noise, so that much depends on an image."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        if path[-1].key == "kernel" and path[0].key not in ("detector", "upsampler"):
            leaf *= 5 if path[0].key == "object_decoder" else 2
    noise = jax.random.uniform(jax.random.key(4), (8, 32, 32, 3))
    encode = jax.jit(lambda variables: model.apply(variables, noise).encoding)
    for level in ("lo", "hi"):  # the features of hi depend on the codes of lo
        book = variables["codebook"]["autoencoder"][f"quantizer_{level}"]
        features = jax.device_get(getattr(encode(variables), f"features_{level}"))
        features = features.reshape(-1, features.shape[-1])
        book["codes"] = features[:: len(features) // len(book["codes"])][: len(book["codes"])]


def write_small_model(folder, size=(32, 32), lively=False, **more):
    """Writes it, with more metadata; a lively one tells images apart, as if it were trained."""
    config = tiny_config()
    config.image_size = size
    model = model_from_config(config)
    variables = jax.jit(model.init)(host_key(jax.random.key(3)), jnp.zeros((1, 32, 32, 3)))
    variables = {name: variables[name] for name in ("params", "codebook")}
    variables = jax.tree.map(np.array, variables)
    if lively:
        _enliven(model, variables)
    metadata = {"model": config.model.to_dict(), "config": {"image_size": list(size)}, **more}
    save_weights(str(folder), variables, metadata)
    return folder


def noise(count=8, seed=0):
    """Pictures of its size, uint8."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def write_calibrated_model(folder, lively=False):
    """Writes one that has thresholds."""
    write_small_model(folder, lively=lively)
    detector = vqad.load(folder)
    thresholds.write(str(folder), detector.calibrate(noise(9, seed=1), 0.3))
    return str(folder)
