"""The one loop that trains any stage."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np

from vqad.errors import VqadError
from vqad.training.interruption import Interrupted, Interruption
from vqad.training.profiling import Profile
from vqad.training.progress import Progress
from vqad.training.step import TrainState, shown
from vqad.training.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Every:
    """After how many steps each thing is due; all of them after the last step too."""

    metrics: int = 100  # metrics are reported
    images: int = 1000  # images are shown
    checkpoint: int = 1000  # the state is saved
    evaluation: int = 0  # ``observe`` is called; 0 never


def train(
    trainer: Trainer,
    state: TrainState,
    batches: Iterator[Mapping[str, jax.Array]],
    *,
    every: Every,
    progress: Progress,
    profile: Profile,
    save: Callable[[TrainState], None],
    interruption: Interruption,
    observe: Callable[[Mapping], Mapping[str, float]] | None,
    begun: float,
) -> TrainState:
    """Makes the steps that are left, with what is due after some of them; returns the last state.

    Args:
      trainer: the stage's trainer.
      state: the state to go on from.
      batches: global batches from that state's step on.
      every: when what is due.
      progress: where metrics and images go.
      profile: traces some of the steps.
      save: saves a state.
      interruption: heeded after each step.
      observe: variables to more metrics, as of images that are not trained on.
      begun: when preparing began (``time.perf_counter``), to tell how long the first step took.

    Raises:
      Interrupted: the run was asked to stop; what was trained is saved.
      VqadError: non-finite loss (the last good checkpoint is kept), a checkpoint that cannot be
        written.
    """
    name, steps = trainer.stage.name, trainer.settings["steps"]
    start = int(state.step)
    window: list[dict] = []
    pending: tuple[int, list[dict]] | None = None

    def settle() -> None:
        """Reports the metrics that are on their way from the devices."""
        nonlocal pending
        if pending is not None:
            (step, metrics), pending = pending, None
            found = jax.device_get(metrics)
            _stop_if_nonfinite(found[-1].pop("nonfinite_step"), name)
            progress.report(step, {each: np.mean([m[each] for m in found]) for each in found[-1]})

    for step in range(start + 1, steps + 1):
        with profile.step(step - start):
            state, metrics, images = trainer.step(state, next(batches))
            profile.wait_for(metrics)
        window.append(metrics)
        if step == start + 1:
            jax.block_until_ready(state)
            logger.info("%s: first step after %.1f s", name, time.perf_counter() - begun)
            progress.compiled(step)
        # The metrics of the last report had the time of this step to arrive in.
        settle()

        def due(count: int, step: int = step) -> bool:
            return count > 0 and (step % count == 0 or step == steps)

        if due(every.metrics):
            jax.tree.map(lambda array: array.copy_to_host_async(), window)
            pending, window = (step, window), []
        if due(every.images):
            progress.show(step, shown(images))
        if observe is not None and due(every.evaluation):
            progress.observe(step, observe(trainer.variables(state)))
        stopping = interruption.due()
        if stopping or due(every.checkpoint):
            settle()
            _stop_if_nonfinite(metrics["nonfinite_step"], name)
            save(state)
        if stopping:
            raise Interrupted(f"{name} is saved at step {step} of {steps}")
    return state


def _stop_if_nonfinite(bad: jax.typing.ArrayLike, stage: str) -> None:
    if (bad := int(bad)) >= 0:  # on the host, where nothing is compiled
        raise VqadError(
            f"{stage}: loss, gradient or parameters are not finite at step {bad}; the "
            f"checkpoints before it are kept; lower config.{stage}.learning_rate, or look at "
            "the images, and run the same command again"
        )
