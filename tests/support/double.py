"""The library in double precision, in which rounding neither hides nor makes a difference."""

import contextlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from vqad.kernels import distances


@contextlib.contextmanager
def double_precision():
    """Computes in float64 what the library computes in float32; arrays must come as float64."""
    bits = distances.ordered_bits

    def ordered_bits(x):
        return bits(jax.lax.convert_element_type(x, np.float32))

    with (
        jax.enable_x64(True),
        mock.patch.object(jnp, "float32", jnp.float64),
        mock.patch.object(distances, "ordered_bits", ordered_bits),
    ):
        yield


def doubled(tree):
    """Arrays of float32 as float64, others as they are, on the host."""
    return jax.tree.map(
        lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, jax.device_get(tree)
    )
