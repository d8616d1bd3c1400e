"""Max pooling with its own gradient."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from vqad.kernels.choice import choose


def plain_max_pool(x: jax.Array) -> jax.Array:
    """What ``max_pool`` computes."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 max pooling, stride 2, of [n, h, w, c], h and w even.

    Among equal values the first one gets the gradient, as in PyTorch. jax2onnx pools four axes,
    which ONNX Runtime does not.
    """
    return choose(x, plain=plain_max_pool, default=_max_of_quarters, onnx=_max_of_quarters)


def _quarters(x: jax.Array) -> list[jax.Array]:
    n, h, w, c = x.shape
    x = x.reshape(n, h // 2, 2, w // 2, 2, c)
    return [x[:, :, i, :, j] for i in (0, 1) for j in (0, 1)]


@jax.custom_vjp
def _max_of_quarters(x: jax.Array) -> jax.Array:
    return functools.reduce(jnp.maximum, _quarters(x))


def _max_of_quarters_fwd(x: jax.Array) -> tuple[jax.Array, tuple]:
    y = _max_of_quarters(x)
    return y, (x, y)


def _max_of_quarters_bwd(residuals: tuple, dy: jax.Array) -> tuple[jax.Array]:
    x, y = residuals
    taken = jnp.zeros(y.shape, bool)
    parts = []
    for quarter in _quarters(x):
        hit = (quarter == y) & ~taken
        taken |= hit
        parts.append(jnp.where(hit, dy, 0))
    rows = [jnp.stack(parts[i : i + 2], axis=3) for i in (0, 2)]
    return (jnp.stack(rows, axis=2).reshape(x.shape),)


_max_of_quarters.defvjp(_max_of_quarters_fwd, _max_of_quarters_bwd)
