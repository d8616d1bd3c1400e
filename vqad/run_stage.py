"""One stage of a run: from the configuration to a trainer, its batches and its checkpoints."""

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping

import jax
from clu import parameter_overview
from etils import epath
from ml_collections import ConfigDict

from vqad import checkpoints
from vqad.data.pipeline import Batch, training_batches
from vqad.data.source import Source
from vqad.models.dsr import Dsr
from vqad.paths import write_atomic
from vqad.processes import is_first
from vqad.stages.stage import Stage
from vqad.training.interruption import Interruption
from vqad.training.loop import Every, train
from vqad.training.profiling import Profile
from vqad.training.progress import Progress
from vqad.training.resume import describe
from vqad.training.sharding import Shardings
from vqad.training.step import TrainState
from vqad.training.trainer import Trainer

logger = logging.getLogger(__name__)

Named = tuple[str, Mapping]


def takes_random_crops(config: ConfigDict, stage: Stage) -> bool:
    """Whether a stage takes random parts of its images, in place of whole ones."""
    return stage.source == "pictures" or config.crop == "random"


def make_trainer(
    config: ConfigDict,
    stage: Stage,
    model: Dsr,
    labelled: bool,
    shardings: Shardings | None = None,
) -> Trainer:
    """The trainer of a stage, whose source has ``labelled`` defects or not."""
    return Trainer(
        model,
        stage,
        config[stage.name].to_dict(),
        image_size=config.image_size,
        seed=config.seed,
        labelled=labelled and config.labelled_share > 0,
        shardings=shardings or Shardings.over_devices(**config.mesh),
    )


def stage_batches(config: ConfigDict, stage: Stage, source: Source, start: int) -> Iterator[Batch]:
    """This process's part of each batch of a stage from step ``start`` on."""
    return training_batches(
        source,
        batch_size=config[stage.name].batch_size,
        image_size=tuple(config.image_size),
        seed=config.seed,
        start_step=start,
        random_crop=takes_random_crops(config, stage),
        labelled_share=config.labelled_share,
        num_workers=config.loading_workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def train_stage(
    config: ConfigDict,
    model: Dsr,
    stage: Stage,
    source: Source,
    workdir: str,
    earlier: Named | None,
    warm: Named | None,
    interruption: Interruption,
    observe: Callable[[Mapping], Mapping[str, float]] | None = None,
) -> None:
    """Trains one stage, or what is left of it, in ``workdir/<stage>``.

    ``earlier`` and ``warm`` are as of ``Trainer.init``; ``interruption``, ``observe`` and what is
    raised as of ``train``.
    """
    begun, settings, root = time.perf_counter(), config[stage.name], epath.Path(workdir)
    folder = str(root / stage.name)
    trainer = make_trainer(config, stage, model, source.num_labelled > 0)
    state = _start(config, trainer, source, folder, earlier, warm)
    metadata = describe(config, stage, workdir)
    if stage.source == "surface" and config.calibration.held_out:
        metadata["trained_on"] = source.fingerprint()
    manager = checkpoints.open_manager(folder, config.checkpoint.keep)
    save = functools.partial(trainer.save, manager, metadata=metadata)
    with contextlib.ExitStack() as ending:
        ending.enter_context(interruption.after_steps())
        # Whatever happens in a step, a checkpoint on its way to the disk gets there.
        ending.callback(checkpoints.finish, manager)
        if settings.steps == 0:
            save(state)
            return
        start = int(state.step)
        progress = Progress(
            workdir, stage.name, start, settings.steps, settings.batch_size, is_first()
        )
        ending.callback(progress.close)
        traced = config.profile_steps if is_first() else 0
        profile = Profile(str(root / "profile" / stage.name), traced)
        ending.callback(profile.close)
        train(
            trainer,
            state,
            trainer.shardings.prefetch(stage_batches(config, stage, source, start)),
            every=Every(
                config.log.every_steps,
                config.log.images_every_steps,
                config.checkpoint.every_steps,
                config.evaluation.every_steps,
            ),
            progress=progress,
            profile=profile,
            save=save,
            interruption=interruption,
            observe=observe,
            begun=begun,
        )


def _start(
    config: ConfigDict,
    trainer: Trainer,
    source: Source,
    folder: str,
    earlier: Named | None,
    warm: Named | None,
) -> TrainState:
    """The state to go on from: that of the newest checkpoint, or one before the first step."""
    stage, done = trainer.stage, checkpoints.latest_step(folder)
    if done is not None:
        logger.info("%s: continuing from step %d", stage.name, done)
    if trainer.settings["steps"]:
        logger.info("%s: compiling, which may take minutes", stage.name)
    if done is not None:
        state = trainer.restore(folder, done)
    else:
        first = next(stage_batches(config, stage, source, 0)) if stage.initialize else None
        state = trainer.init(earlier, warm, first)
    overview = parameter_overview.get_parameter_overview(state.params)
    logger.debug("%s trains\n%s", stage.name, overview)
    if is_first():
        write_atomic(epath.Path(folder).parent / f"{stage.name}_parameters.txt", overview.encode())
    return state
