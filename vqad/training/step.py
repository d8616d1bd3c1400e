"""The train state and the one train step that serves all stages."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from vqad.models.dsr import Dsr
from vqad.stages.stage import Defects, Outcome, Stage
from vqad.training.sharding import Shardings

IMAGES_SHOWN = 4


@flax.struct.dataclass
class TrainState:
    """What a step changes; arrays only."""

    step: jax.Array  # int32 scalar, steps done
    params: Any  # parameters of the modules that the stage trains
    codebook: Any  # the codebooks where the stage moves them, else empty
    opt_state: Any  # the optimizer's state
    nonfinite_step: jax.typing.ArrayLike  # int32 scalar, first step with anything not finite, or -1


def state_shardings(shardings: Shardings, state: TrainState) -> TrainState:
    """Where a state lives: a state of shardings, for one of arrays or shapes."""
    return TrainState(
        step=shardings.replicated,
        params=shardings.of_params(state.params),
        codebook=jax.tree.map(lambda _: shardings.replicated, state.codebook),
        opt_state=shardings.of_optimizer(state.opt_state),
        nonfinite_step=shardings.replicated,
    )


def split_variables(stage: Stage, variables: Mapping) -> tuple[dict, dict, dict]:
    """Trained parameters of a stage, trained codebooks (or {}), frozen variables."""
    params = variables["params"]
    trained = {name: params[name] for name in stage.trains}
    frozen = {"params": {name: params[name] for name in params if name not in stage.trains}}
    if stage.ema_update:
        return trained, dict(variables["codebook"]), frozen
    return trained, {}, {**frozen, "codebook": variables["codebook"]}


def join_variables(params: Mapping, codebook: Mapping, frozen: Mapping) -> dict:
    """The inverse of ``split_variables``."""
    return {"params": {**frozen["params"], **params}, "codebook": codebook or frozen["codebook"]}


def create_state(
    params: Mapping, codebook: Mapping, optimizer: optax.GradientTransformation
) -> TrainState:
    """A state before its first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        codebook=codebook,
        opt_state=optimizer.init(params),
        nonfinite_step=jnp.full((), -1, jnp.int32),
    )


def step_key(seed: int, name: str, step: jax.Array) -> jax.Array:
    """The key of a step: folded from seed, name and step, whatever the devices."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, step)


def make_train_step(
    model: Dsr,
    stage: Stage,
    settings: Mapping[str, Any],
    optimizer: optax.GradientTransformation,
    seed: int,
    shardings: Shardings,
) -> jax.stages.Wrapped:
    """Builds a stage's train step: jitted, state donated, batch split over the mesh.

    Settings are the stage's part of the config; all randomness comes from the seed and the step.

    Returns:
      A function (state, frozen variables, batch as ``training_batches`` gives it) to (state,
      metrics, images): metrics are float32 scalars and ``nonfinite_step``, int32; images are the
      outcome's, clipped to [0, 1], of each device its first few, of which ``shown`` gives some.
    """

    def gradients(variables: Mapping, inputs: Any) -> tuple[Any, Any]:
        trained, codebook, frozen = variables["params"], variables["codebook"], variables["frozen"]

        def loss_fn(params: Mapping, inputs: Any) -> tuple[jax.Array, Outcome]:
            joined = join_variables(params, codebook, frozen)
            return stage.loss(model, joined, inputs, settings)

        def of_part(inputs: Any) -> tuple[Any, Any]:
            (_, outcome), grads = jax.value_and_grad(loss_fn, has_aux=True)(trained, inputs)
            return (grads, outcome.metrics), (outcome.images, outcome.kept)

        means, (images, kept) = _over_parts(of_part, inputs, settings["accumulate_steps"])
        images = {name: jnp.clip(shown[:IMAGES_SHOWN], 0, 1) for name, shown in images.items()}
        return means, (images, kept)

    def train_step(state: TrainState, frozen: Mapping, batch: Mapping) -> tuple:
        key = step_key(seed, stage.name, state.step)
        image = batch["image"].astype(jnp.float32) / 255
        defects = None
        if "mask" in batch:
            defects = Defects(batch["mask"].astype(jnp.float32)[..., None], batch["labelled"])
        inputs = stage.draw(key, image, settings, defects)
        # Split parameters are gathered for this, their gradients averaged and then split.
        variables = {"params": state.params, "codebook": state.codebook, "frozen": frozen}
        (grads, metrics), (images, kept) = shardings.on_each_device(gradients, variables, inputs)
        grads = jax.lax.with_sharding_constraint(grads, shardings.of_params(grads))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        norm = optax.tree.norm(grads)
        params = optax.apply_updates(state.params, updates)
        codebook = state.codebook
        if stage.ema_update:
            variables = join_variables(state.params, state.codebook, frozen)
            codebook, statistics = stage.ema_update(model, variables, kept, key)
            metrics |= statistics
        sizes = [metrics["loss"], norm, optax.tree.norm(params), optax.tree.norm(codebook)]
        bad = ~jnp.isfinite(jnp.stack(sizes)).all() & (state.nonfinite_step < 0)
        new_state = TrainState(
            step=state.step + 1,
            params=params,
            codebook=codebook,
            opt_state=opt_state,
            nonfinite_step=jnp.where(bad, state.step + 1, state.nonfinite_step),
        )
        where = state_shardings(shardings, new_state)
        new_state = jax.lax.with_sharding_constraint(new_state, where)
        # The latter is a copy: the state's own is given to the next step.
        metrics |= {"gradient_norm": norm, "nonfinite_step": new_state.nonfinite_step}
        return new_state, metrics, images

    replicated = shardings.replicated
    return jax.jit(
        train_step,
        donate_argnums=0,
        in_shardings=(None, replicated, shardings.batch),
        out_shardings=(None, replicated, shardings.batch),
    )


def _over_parts(
    function: Callable[[Any], tuple[Any, Any]], inputs: Any, parts: int
) -> tuple[Any, Any]:
    """Applies a function to a batch in parts, one after the other, to fit into the memory.

    Of arrays [m, ...] it makes a tree of means over the images, and a tree of arrays [m, ...].
    """
    if parts == 1:
        return function(inputs)

    def add(total: Any, part: Any) -> tuple[Any, Any]:
        means, rows = function(part)
        return jax.tree.map(jnp.add, total, means), rows

    split = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), inputs)
    shapes = jax.eval_shape(function, jax.tree.map(lambda a: a[0], split))[0]
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    total, rows = jax.lax.scan(add, zeros, split)
    rows = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), rows)
    return jax.tree.map(lambda a: a / parts, total), rows


def shown(images: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    """The first few images of this process that a step returned, [n, h, w, 3 or 1] by name."""

    def first(array: jax.Array) -> np.ndarray:
        parts = sorted(array.addressable_shards, key=lambda part: part.index[0].start or 0)
        parts = parts[: -(-IMAGES_SHOWN // parts[0].data.shape[0])]
        return np.concatenate([np.asarray(part.data) for part in parts])[:IMAGES_SHOWN]

    return {name: first(array) for name, array in images.items()}
