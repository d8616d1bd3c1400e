"""Variables at the start of a stage: fresh, from an earlier stage's checkpoint, or set by data."""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from vqad import checkpoints
from vqad.errors import VqadError
from vqad.models.dsr import Dsr
from vqad.models.image_shape import SIDE_MULTIPLE
from vqad.models.initializers import host_key
from vqad.stages.stage import Stage
from vqad.training.step import step_key


def initial_variables(
    model: Dsr,
    stage: Stage,
    seed: int,
    earlier: tuple[str, Mapping] | None,
    warm: tuple[str, Mapping] | None = None,
) -> dict:
    """Variables at the start of a stage: fresh for what it trains, a checkpoint's for the rest.

    ``earlier`` and ``warm`` are as of ``Trainer.init``. Returned are NumPy arrays, ``{"params",
    "codebook"}`` of the modules that exist after this stage. Raises a VqadError if a checkpoint
    does not fit, or JAX may not use the host.
    """
    variables = fresh_variables(model, stage, step_key(seed, "init", jnp.int32(0)))

    def take(modules: Sequence[str], source: tuple[str, Mapping], codebook: bool) -> None:
        target = {"params": {module: variables["params"][module] for module in modules}}
        if codebook:
            target["codebook"] = variables["codebook"]
        merged = checkpoints.merge(target, source[1], source[0])
        for collection, found in merged.items():
            variables[collection] = {**variables[collection], **found}

    if earlier is not None:
        take(stage.needs, earlier, codebook=True)
    if warm is not None:
        trained = [module for module in stage.trains if module in warm[1]["params"]]
        take(trained, warm, codebook=stage.ema_update is not None and bool(trained))
    return variables


def fresh_variables(model: Dsr, stage: Stage, key: jax.Array) -> dict:
    """Variables of all modules after a stage, drawn by a key; NumPy arrays."""
    with jax.default_device(_host()):
        return _of(stage, jax.device_get(_fresh_variables(model, _method(stage), key)))


def variable_shapes(model: Dsr, stage: Stage) -> dict:
    """Shapes and dtypes of what ``initial_variables`` returns."""
    return _of(stage, _fresh_variables.eval_shape(model, _method(stage), jax.random.key(0)))


def _of(stage: Stage, variables: Mapping) -> dict:
    """The variables of the modules that exist after a stage."""
    params = {name: variables["params"][name] for name in stage.modules}
    return {"params": params, "codebook": variables["codebook"]}


@partial(jax.jit, static_argnames=("model", "method"))
def _fresh_variables(model: Dsr, method: str, key: jax.Array) -> Mapping:
    image = jnp.zeros((1, SIDE_MULTIPLE, SIDE_MULTIPLE, 3))
    return model.init(host_key(key), image, method=method)


def _method(stage: Stage) -> str:
    """The method of the network that uses all modules that exist after a stage."""
    return "__call__" if stage.needs else "reconstruct"


def _host() -> jax.Device:
    """Where parameters are drawn: outside of accelerators, each of which is given only its part."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise VqadError(
            f"JAX_PLATFORMS={jax.config.jax_platforms}: initial parameters are drawn on the host; "
            f"give JAX_PLATFORMS={jax.config.jax_platforms},cpu"
        ) from error
