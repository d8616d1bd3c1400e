"""The one loop that trains any stage."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview
from etils import epath
from ml_collections import ConfigDict

from vqad import checkpoints
from vqad.anomalies.augment import random_gray
from vqad.data.pipeline import Batch, training_batches
from vqad.data.sources import Source
from vqad.errors import VqadError
from vqad.kernels.compiler import compile_ahead
from vqad.models.dsr import Dsr
from vqad.stages.stage import Stage
from vqad.training.initialization import initial_variables, standardize_features
from vqad.training.interruption import Interrupted, Interruption
from vqad.training.optimizer import averaged, make_optimizer
from vqad.training.processes import is_first
from vqad.training.profiling import Profile
from vqad.training.progress import Progress
from vqad.training.resume import describe
from vqad.training.sharding import Placement, placed
from vqad.training.step import (
    TrainState,
    create_state,
    join_variables,
    make_train_step,
    shown,
    split_variables,
    state_shardings,
    step_key,
)

logger = logging.getLogger(__name__)


def train_stage(
    config: ConfigDict,
    model: Dsr,
    stage: Stage,
    source: Source,
    workdir: str,
    earlier: tuple[str, Mapping] | None,
    interruption: Interruption,
) -> None:
    """Trains one stage, or what is left of it, in ``workdir/<stage>``.

    Args:
      config: the run's configuration, validated.
      model: the network.
      stage: the stage.
      source: where images come from.
      workdir: the run's folder.
      earlier: name and variables of the checkpoint that the stage starts from; None for stage 1.
      interruption: knows whether to stop; heeded after each step.

    Raises:
      Interrupted: the run was asked to stop; what was trained is saved.
      VqadError: non-finite loss (the last good checkpoint is kept), a checkpoint of another width,
        a checkpoint that cannot be written.
    """
    settings = config[stage.name]
    placement = Placement.over_devices(**config.mesh)
    folder = str(epath.Path(workdir) / stage.name)
    begun = time.perf_counter()
    state, frozen, step = _prepare(config, model, stage, source, folder, earlier, placement)
    start = int(state.step)
    metadata = describe(config, stage, workdir)
    if stage.source == "surface" and config.calibration.held_out:
        metadata["trained_on"] = source.fingerprint()
    manager = checkpoints.open_manager(folder, config.checkpoint.keep)

    def save(state: TrainState) -> None:
        weights = averaged(state.opt_state, state.params)
        variables = join_variables(weights, state.codebook, frozen)
        training = {"opt_state": state.opt_state, "step": state.step}
        if weights is not state.params:
            training["params"] = state.params
        checkpoints.save(manager, int(state.step), variables, metadata, training)

    with contextlib.ExitStack() as ending:
        ending.enter_context(interruption.after_steps())
        # Whatever happens in a step, a checkpoint on its way to the disk gets there.
        ending.callback(checkpoints.finish, manager)
        if settings.steps == 0:
            save(state)
            return
        progress = Progress(
            workdir, stage.name, start, settings.steps, settings.batch_size, is_first()
        )
        ending.callback(progress.close)
        traced = config.profile_steps if is_first() else 0
        profile = Profile(str(epath.Path(workdir) / "profile" / stage.name), traced)
        ending.callback(profile.close)
        batches = placement.ahead(_batches(config, stage, source, start))

        def train_step(state: TrainState, batch: Mapping) -> tuple[TrainState, dict, dict]:
            return step(state, frozen, batch)

        _steps(
            config, stage, train_step, state, batches, progress, profile, save, interruption, begun
        )


def _prepare(
    config: ConfigDict,
    model: Dsr,
    stage: Stage,
    source: Source,
    folder: str,
    earlier: tuple[str, Mapping] | None,
    placement: Placement,
) -> tuple[TrainState, Mapping, Callable[..., tuple[TrainState, dict, dict]]]:
    """The state to go on from, the frozen variables and the compiled step."""
    settings = config[stage.name]
    optimizer = make_optimizer(settings)
    done = checkpoints.latest_step(folder)
    if done is None:
        variables = initial_variables(model, stage, config.seed, earlier)
        if stage.move_codebooks and settings.standardize_features:
            image = placement.put_batch(next(_batches(config, stage, source, 0)))["image"]
            key = step_key(config.seed, "standardize", jnp.int32(0))
            image = random_gray(key, image.astype(jnp.float32) / 255, settings.gray_probability)
            variables = jax.device_get(standardize_features(model, variables, image))
    else:
        logger.info("%s: continuing from step %d", stage.name, done)
        variables, _ = checkpoints.load_step(folder, done)
    params, codebook, frozen = split_variables(stage, variables)
    logger.info("%s trains\n%s", stage.name, parameter_overview.get_parameter_overview(params))
    shapes = jax.eval_shape(partial(create_state, optimizer=optimizer), params, codebook)
    step = make_train_step(model, stage, settings, optimizer, config.seed, placement)
    if settings.steps:
        # Compiling takes as much memory as a step: the optimizer's state is made after it.
        batch = batch_shapes(config, stage, labelled=source.num_labelled > 0)
        placed_shapes = placed(shapes, state_shardings(placement, shapes))
        step = compile_ahead(step, placed_shapes, frozen, batch)
    where = state_shardings(placement, shapes)
    if done is None:
        fresh = placement.put((params, codebook), (where.params, where.codebook))
        state = jax.jit(lambda p, c: create_state(p, c, optimizer), out_shardings=where)(*fresh)
    else:
        state = placement.put(_restore(folder, done, params, codebook, shapes), where)
    return state, placement.put(frozen), step


def _steps(
    config: ConfigDict,
    stage: Stage,
    train_step: Callable[[TrainState, Mapping], tuple[TrainState, dict, dict]],
    state: TrainState,
    batches: Iterator[dict[str, jax.Array]],
    progress: Progress,
    profile: Profile,
    save: Callable[[TrainState], None],
    interruption: Interruption,
    begun: float,
) -> None:
    """The steps that are left, with what is due after some of them."""
    settings = config[stage.name]
    start = int(state.step)
    window: list[dict] = []
    pending: tuple[int, list[dict]] | None = None

    def settle() -> None:
        """Reports the metrics that are on their way from the devices."""
        nonlocal pending
        if pending is not None:
            (step, metrics), pending = pending, None
            _report(progress, stage, step, metrics)

    for step in range(start + 1, settings.steps + 1):
        with profile.step(step - start):
            state, metrics, images = train_step(state, next(batches))
            profile.wait_for(metrics)
        window.append(metrics)
        if step == start + 1:
            jax.block_until_ready(state)
            logger.info("%s: first step after %.1f s", stage.name, time.perf_counter() - begun)
            progress.compiled(step)
        # The metrics of the last report had the time of this step to arrive in.
        settle()

        def due(every: int, step: int = step) -> bool:
            return step % every == 0 or step == settings.steps

        if due(config.log.every_steps):
            jax.tree.map(lambda array: array.copy_to_host_async(), window)
            pending, window = (step, window), []
        if due(config.log.images_every_steps):
            progress.show(step, shown(images))
        stopping = interruption.due()
        if stopping or due(config.checkpoint.every_steps):
            settle()
            _stop_if_nonfinite(int(metrics["nonfinite_step"]), stage)
            save(state)
        if stopping:
            raise Interrupted(f"{stage.name} is saved at step {step} of {settings.steps}")


def _batches(config: ConfigDict, stage: Stage, source: Source, start: int) -> Iterator[Batch]:
    """This process's part of each batch of a stage from step ``start`` on."""
    return training_batches(
        source,
        batch_size=config[stage.name].batch_size,
        image_size=tuple(config.image_size),
        seed=config.seed,
        start_step=start,
        random_crop=stage.source == "pictures",
        labelled_share=config.labelled_share,
        num_workers=config.loading_workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def batch_shapes(
    config: ConfigDict, stage: Stage, labelled: bool
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a stage's batches.

    Args:
      config: the run's configuration.
      stage: the stage.
      labelled: whether its source has labelled defects.
    """
    n, size = config[stage.name].batch_size, tuple(config.image_size)
    shapes = {"image": jax.ShapeDtypeStruct((n, *size, 3), jnp.uint8)}
    if labelled and config.labelled_share:
        shapes["mask"] = jax.ShapeDtypeStruct((n, *size), jnp.uint8)
        shapes["labelled"] = jax.ShapeDtypeStruct((n,), jnp.bool_)
    return shapes


def _report(progress: Progress, stage: Stage, step: int, metrics: list[dict]) -> None:
    fetched = jax.device_get(metrics)
    _stop_if_nonfinite(int(fetched[-1]["nonfinite_step"]), stage)
    names = [name for name in fetched[0] if name != "nonfinite_step"]
    progress.report(step, {name: np.mean([m[name] for m in fetched]) for name in names})


def _stop_if_nonfinite(bad: int, stage: Stage) -> None:
    if bad >= 0:
        raise VqadError(
            f"{stage.name}: loss, gradient or parameters are not finite at step {bad}; the "
            f"checkpoints before it are kept; lower config.{stage.name}.learning_rate, or look at "
            "the images, and run the same command again"
        )


def _restore(
    folder: str, step: int, params: Mapping, codebook: Mapping, shapes: TrainState
) -> TrainState:
    wanted = {"opt_state": shapes.opt_state, "step": shapes.step}
    if averaged(shapes.opt_state, None) is not None:
        wanted["params"] = shapes.params
    training = checkpoints.load_training(folder, step, wanted)
    return TrainState(
        step=training["step"],
        params=training.get("params", params),
        codebook=codebook,
        opt_state=training["opt_state"],
        nonfinite_step=np.int32(-1),
    )
