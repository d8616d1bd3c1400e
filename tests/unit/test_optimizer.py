"""Schedules of the rate, clipping, and the moving average of the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vqad.config import base_config
from vqad.training.optimizer import averaged, make_optimizer


def settings(**fields):
    return {**base_config().stage2.to_dict(), "learning_rate": 1.0, "steps": 10, **fields}


def rates(optimizer, steps=10):
    """Sizes of Adam's steps for a gradient that stays: the rate itself."""
    params = jnp.zeros(())
    state = optimizer.init(params)
    sizes = []
    for _ in range(steps):
        update, state = optimizer.update(jnp.ones(()), state, params)
        sizes.append(-float(update))
    return sizes


def test_the_rate_drops_once():
    found = rates(make_optimizer(settings(drop_after=0.8)))
    np.testing.assert_allclose(found, [1.0] * 8 + [0.1] * 2, rtol=1e-4)


def test_the_rate_rises_before_it_drops():
    found = rates(make_optimizer(settings(drop_after=0.8, warmup_steps=4)))
    np.testing.assert_allclose(found, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 0.1, 0.1], atol=1e-4)


def test_a_cosine_falls_to_zero():
    found = rates(make_optimizer(settings(schedule="cosine", warmup_steps=2)), 11)
    wanted = [0, 0.5, *(0.5 + 0.5 * np.cos(np.pi * np.arange(9) / 8))]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_long_gradients_are_shortened():
    optimizer = make_optimizer(settings(clip_norm=1.0))
    params = {"a": jnp.zeros(2)}
    _, state = optimizer.update({"a": jnp.array([30.0, 40.0])}, optimizer.init(params), params)
    mean = optax.tree.get(state, "mu")["a"]
    np.testing.assert_allclose(mean, [0.06, 0.08], rtol=1e-5)


def test_the_average_follows_the_weights():
    optimizer = make_optimizer(settings(average_decay=0.5))
    params = jnp.zeros(())
    state = jax.jit(optimizer.init)(params)
    wanted = 0.0
    for t in range(6):
        updates, state = optimizer.update(jnp.ones(()), state, params)
        params = optax.apply_updates(params, updates)
        keep = min(0.5, (1 + t) / (10 + t))
        wanted = keep * wanted + (1 - keep) * float(params)
    np.testing.assert_allclose(averaged(state, params), wanted, rtol=1e-5)
    assert wanted != float(params)


def test_without_an_average_the_weights_are_the_weights():
    optimizer = make_optimizer(settings())
    params = {"a": jnp.zeros(2)}
    assert averaged(optimizer.init(params), params) is params
