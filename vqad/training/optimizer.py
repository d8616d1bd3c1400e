"""Adam with a schedule of its rate, and the moving average of the weights."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


def make_optimizer(settings: Mapping[str, Any]) -> optax.GradientTransformation:
    """Adam (betas 0.9, 0.999, eps 1e-8, no weight decay) as a stage's settings describe it.

    They are ``learning_rate``, ``steps``, ``schedule``, ``warmup_steps``, ``drop_after``,
    ``drop_factor``, ``clip_norm``, ``average_decay``; see ``base_config``.
    """
    adam = optax.adam(_schedule(settings))
    parts = [adam]
    if settings["clip_norm"]:
        parts.insert(0, optax.clip_by_global_norm(settings["clip_norm"]))
    if settings["average_decay"]:
        parts.append(average_weights(settings["average_decay"]))
    return optax.chain(*parts) if len(parts) > 1 else adam


def _schedule(settings: Mapping[str, Any]) -> optax.Schedule:
    rate, warmup, steps = (settings[k] for k in ("learning_rate", "warmup_steps", "steps"))
    if settings["schedule"] == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, rate, warmup, max(steps, warmup + 1))
    drop = round(settings["drop_after"] * steps)
    dropped = optax.piecewise_constant_schedule(rate, {drop: settings["drop_factor"]})
    if not warmup:
        return dropped
    return lambda step: dropped(step) * jnp.minimum(step / warmup, 1.0)


class AverageState(NamedTuple):
    """State of ``average_weights``: steps done, and the weights' moving average."""

    averaged_steps: jax.Array
    average: Any


def average_weights(decay: float) -> optax.GradientTransformation:
    """Passes updates on and keeps a moving average of the weights behind them; the last of a chain.

    The decay is in (0, 1). After t steps it is at most (1 + t) / (10 + t), so that the fresh
    weights are soon forgotten (as ``tf.train.ExponentialMovingAverage`` does).
    """

    def init(params: Any) -> AverageState:
        # Copied: a donated state must not hold one array twice.
        return AverageState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: Any, state: AverageState, params: Any) -> tuple[Any, AverageState]:
        t = state.averaged_steps.astype(jnp.float32)
        keep = jnp.minimum(decay, (1 + t) / (10 + t))
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, state.average, new)
        return updates, AverageState(state.averaged_steps + 1, average)

    return optax.GradientTransformation(init, update)


def averaged(opt_state: Any, params: Any) -> Any:
    """The moving average of the weights in an optimizer's state; ``params`` where it keeps none."""
    average = optax.tree.get(opt_state, "average")
    return params if average is None else average
