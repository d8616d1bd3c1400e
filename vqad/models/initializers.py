"""Initializers of the networks, drawn by NumPy.

Compiling JAX's generators for the hundred parameters of DSR takes about 20 s on two CPU
cores; a callback to NumPy's Philox generator, seeded with the key, takes none. The numbers depend
on the key alone, whatever the backend and whether the call is jitted.
"""

from collections.abc import Callable

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

Initializer = Callable[..., jax.Array]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def _fold_in(key: np.ndarray, data: np.ndarray) -> np.ndarray:
    """``jax.random.fold_in`` of a Threefry key: Threefry-2x32 with 20 rounds of (0, data).

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    """
    k0, k1 = (int(word) for word in np.asarray(key))
    schedule = (k0, k1, k0 ^ k1 ^ 0x1BD11BDA)
    x0, x1 = schedule[0], int(data) + schedule[1]
    for i in range(5):
        for by in _ROTATIONS[i % 2]:
            x0, x1 = (x0 + x1) & 0xFFFFFFFF, x1 & 0xFFFFFFFF
            x1 = x0 ^ (x1 << by & 0xFFFFFFFF | x1 >> 32 - by)
        x0 += schedule[(i + 1) % 3]
        x1 += schedule[(i + 2) % 3] + i + 1
    return np.asarray([x0 & 0xFFFFFFFF, x1 & 0xFFFFFFFF], np.uint32)


_HOST_KEYS = jax.extend.random.define_prng_impl(
    key_shape=(2,),
    seed=jax.extend.random.threefry_prng_impl.seed,
    split=jax.extend.random.threefry_prng_impl.split,
    random_bits=jax.extend.random.threefry_prng_impl.random_bits,
    fold_in=lambda key, data: jax.pure_callback(
        _fold_in, jax.ShapeDtypeStruct((2,), jnp.uint32), key, data, vmap_method="sequential"
    ),
    name="threefry2x32_on_host",
    tag="threefry2x32_on_host",
)


def host_key(key: jax.Array) -> jax.Array:
    """The same key, whose ``fold_in`` gives the same keys but is computed by NumPy; for ``init``.

    Flax folds the name of each parameter into the key, and compiling Threefry for each takes 8 s on
    two CPU cores. A key of another kind is returned as it is.
    """
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_HOST_KEYS)


def _initializer(sample: Callable[[np.random.Generator, tuple], np.ndarray]) -> Initializer:
    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        def draw(data: np.ndarray) -> np.ndarray:
            seed = np.random.SeedSequence(np.asarray(data, np.uint32).tolist())
            return sample(np.random.Generator(np.random.Philox(seed)), shape).astype(np.float32)

        data = key if jnp.issubdtype(key.dtype, jnp.integer) else jax.random.key_data(key)
        result = jax.ShapeDtypeStruct(shape, jnp.float32)
        return jax.pure_callback(draw, result, data, vmap_method="sequential").astype(dtype)

    return init


def normal(deviation: float) -> Initializer:
    """Normal with mean 0."""
    return _initializer(lambda generator, shape: generator.normal(0, deviation, shape))


def torch_default(fan_in: int) -> Initializer:
    """PyTorch's default for convolutions: uniform in +-1/sqrt(fan_in)."""
    bound = fan_in**-0.5
    return _initializer(lambda generator, shape: generator.uniform(-bound, bound, shape))
