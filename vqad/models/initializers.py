"""Initializers of the networks, drawn by NumPy.

Compiling JAX's generators for the hundred parameters of DSR takes about 20 s on two CPU
cores; a callback to NumPy's Philox generator, seeded with the key, takes none. The numbers depend
on the key alone, whatever the backend and whether the call is jitted.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

Initializer = Callable[..., jax.Array]


def _draw(key: jax.Array, shape: tuple[int, ...], sample: Callable) -> jax.Array:
    def draw(data: np.ndarray) -> np.ndarray:
        seed = np.asarray(data, np.uint32)
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed.tolist())))
        return sample(generator, shape).astype(np.float32)

    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    data = key if jnp.issubdtype(key.dtype, jnp.integer) else jax.random.key_data(key)
    return jax.pure_callback(draw, result, data, vmap_method="sequential")


def uniform(bound: float) -> Initializer:
    """Uniform in [-bound, bound)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return _draw(key, shape, lambda g, s: g.uniform(-bound, bound, s)).astype(dtype)

    return init


def normal(deviation: float) -> Initializer:
    """Normal with mean 0."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return _draw(key, shape, lambda g, s: g.normal(0, deviation, s)).astype(dtype)

    return init


def torch_default(fan_in: int) -> Initializer:
    """PyTorch's default for convolutions: uniform in +-1/sqrt(fan_in)."""
    return uniform(fan_in**-0.5)
