"""The trainer of a stage: everything that a step needs, put together in one place."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqad import checkpoints
from vqad.kernels.compiler import compile_ahead
from vqad.models.dsr import Dsr
from vqad.stages.stage import Stage
from vqad.training.initialization import initial_variables, variable_shapes
from vqad.training.optimizer import averaged, make_optimizer
from vqad.training.sharding import Shardings
from vqad.training.step import (
    TrainState,
    create_state,
    join_variables,
    make_train_step,
    split_variables,
    state_shardings,
    step_key,
)

logger = logging.getLogger(__name__)


class Trainer:
    """Model, stage, optimizer, shardings and compiled step; makes, saves and restores the state.

    The state is a tree of arrays that ``step`` takes and gives back; the trainer itself changes
    only when ``init`` or ``restore`` gives it the frozen variables.

    Examples:
      >>> import numpy as np
      >>> import vqad
      >>> from vqad.config import base_config
      >>> from vqad.stages import STAGES
      >>> model = vqad.Dsr(hiddens=8, residual_hiddens=4, code_dim=4, num_codes=16)
      >>> settings = {**base_config().stage1, "steps": 1, "batch_size": 8}
      >>> trainer = vqad.Trainer(model, STAGES["stage1"], settings, image_size=(32, 32))
      >>> state = trainer.init()
      >>> images = np.zeros((8, 32, 32, 3), np.uint8)
      >>> batch = trainer.shardings.put_batch({"image": images})
      >>> state, metrics, shown = trainer.step(state, batch)
      >>> int(state.step), sorted(metrics)[0]
      (1, 'codebook_usage_hi')

    Attributes:
      model: the network.
      stage: the stage.
      settings: the stage's settings, as ``base_config()[stage.name]`` has them.
      image_size: height and width of the images.
      seed: seed of the initialisation and of all that steps draw.
      labelled: whether batches hold labelled defects.
      shardings: where arrays live; over all devices by default.
      frozen: variables that the stage does not train, on the devices.
    """

    def __init__(
        self,
        model: Dsr,
        stage: Stage,
        settings: Mapping[str, Any],
        *,
        image_size: tuple[int, int],
        seed: int = 0,
        labelled: bool = False,
        shardings: Shardings | None = None,
    ) -> None:
        self.model, self.stage, self.settings = model, stage, dict(settings)
        self.image_size, self.seed, self.labelled = tuple(image_size), seed, labelled
        self.shardings = shardings or Shardings.over_devices()
        self.optimizer = make_optimizer(settings)
        self.jitted = make_train_step(
            model, stage, self.settings, self.optimizer, seed, self.shardings
        )
        self.frozen: Any = None
        self._compiled: Any = None

    def init(
        self,
        earlier: tuple[str, Mapping] | None = None,
        warm: tuple[str, Mapping] | None = None,
        first_batch: Mapping[str, np.ndarray] | None = None,
    ) -> TrainState:
        """The state before the first step; a VqadError if a checkpoint does not fit.

        Args:
          earlier: name and variables of the checkpoint that the stage starts from, if it needs one.
          warm: name and variables of modules that start trained; others start fresh.
          first_batch: this process's rows, where the stage sets its variables by data.
        """
        variables: Mapping = initial_variables(self.model, self.stage, self.seed, earlier, warm)
        if self.stage.initialize and first_batch is not None:
            image = self.shardings.put_batch(first_batch)["image"].astype(jnp.float32) / 255
            key = step_key(self.seed, "standardize", jnp.int32(0))
            variables = self.stage.initialize(self.model, variables, image, self.settings, key)
            variables = jax.device_get(variables)
        params, codebook, frozen = split_variables(self.stage, variables)
        # Compiling takes as much memory as a step: the optimizer's state is made after it.
        shapes = self._compile(params, codebook, frozen)
        where = state_shardings(self.shardings, shapes)
        create = jax.jit(partial(create_state, optimizer=self.optimizer), out_shardings=where)
        self.frozen = self.shardings.put(frozen)
        return create(*self.shardings.put((params, codebook), (where.params, where.codebook)))

    def restore(self, folder: str, step: int) -> TrainState:
        """The state behind a step, and the frozen variables, from a checkpoint.

        Raises a VqadError if it holds weights alone, DamagedCheckpoint if it cannot be read.
        """
        variables, _ = checkpoints.load_step(folder, step)
        params, codebook, frozen = split_variables(self.stage, variables)
        shapes = self._compile(params, codebook, frozen)
        wanted = {"opt_state": shapes.opt_state, "step": shapes.step}
        if averaged(shapes.opt_state, None) is not None:
            wanted["params"] = shapes.params
        training = checkpoints.load_training(folder, step, wanted)
        self.frozen = self.shardings.put(frozen)
        state = TrainState(
            step=training["step"],
            params=training.get("params", params),
            codebook=codebook,
            opt_state=training["opt_state"],
            nonfinite_step=np.int32(-1),
        )
        return self.shardings.put(state, state_shardings(self.shardings, shapes))

    def step(self, state: TrainState, batch: Mapping) -> tuple[TrainState, dict, dict]:
        """One step on a batch as of ``shardings.put_batch``; the state that it is given is used up.

        Returns the new state, metrics and images; see ``make_train_step``.
        """
        return (self._compiled or self.jitted)(state, self.frozen, batch)

    def variables(self, state: TrainState) -> dict:
        """Variables of all modules so far, the trained ones averaged if the settings say so."""
        weights = averaged(state.opt_state, state.params)
        return join_variables(weights, state.codebook, self.frozen)

    def save(self, manager: Any, state: TrainState, metadata: Mapping[str, Any]) -> None:
        """Saves a checkpoint from which ``restore`` goes on; a VqadError if that fails."""
        training = {"opt_state": state.opt_state, "step": state.step}
        if averaged(state.opt_state, None) is not None:
            training["params"] = state.params
        checkpoints.save(manager, int(state.step), self.variables(state), metadata, training)

    def lower(self) -> jax.stages.Lowered:
        """The step traced for its devices, without any array; for plans."""
        split = split_variables(self.stage, variable_shapes(self.model, self.stage))
        return self.jitted.lower(*self._arguments(*split))

    def batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of the global batches that a step takes."""
        n, size = self.settings["batch_size"], self.image_size
        shapes = {"image": jax.ShapeDtypeStruct((n, *size, 3), jnp.uint8)}
        if self.labelled:
            shapes["mask"] = jax.ShapeDtypeStruct((n, *size), jnp.uint8)
            shapes["labelled"] = jax.ShapeDtypeStruct((n,), jnp.bool_)
        return shapes

    def _arguments(self, params: Mapping, codebook: Mapping, frozen: Mapping) -> tuple:
        state = jax.eval_shape(partial(create_state, optimizer=self.optimizer), params, codebook)
        where = state_shardings(self.shardings, state)
        state = jax.tree.map(
            lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), state, where
        )
        return state, frozen, self.batch_shapes()

    def _compile(self, params: Mapping, codebook: Mapping, frozen: Mapping) -> TrainState:
        """Compiles the step, if there are any; returns the state's shapes."""
        arguments = self._arguments(params, codebook, frozen)
        if self.settings["steps"]:
            self._compiled = compile_ahead(self.jitted, *arguments)
        return arguments[0]
