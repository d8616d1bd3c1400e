"""A whole run: the stages of a configuration one after the other, then the evaluation."""

import json
import logging
import os

import jax
from etils import epath
from ml_collections import ConfigDict

from vqad import checkpoints
from vqad.config import model_from_config, validate, where_data_is
from vqad.data.checks import leaks
from vqad.data.findings import Finding, NoTestSplit, act_on
from vqad.data.source import Source
from vqad.data.sources import open_source
from vqad.errors import VqadError, less_memory, printable, reason
from vqad.evaluation.evaluate import check_split, evaluate, is_evaluated
from vqad.evaluation.observe import observer
from vqad.paths import absolute, check_reachable, is_remote, links_out_of, odd_files
from vqad.prediction.calibration import calibrate
from vqad.prediction.thresholds import conformal_rank
from vqad.processes import check_alike, is_first, wait_for_all
from vqad.run_stage import takes_random_crops, train_stage
from vqad.stages import STAGES
from vqad.stages.stage import Stage
from vqad.training.interruption import Interruption
from vqad.training.lock import WorkdirLock
from vqad.training.resume import check_held_out, check_units, stage_before, steps_done
from vqad.training.sharding import Shardings

logger = logging.getLogger(__name__)

_LESS = "lower config.evaluation.batch_size"


def run(
    config: ConfigDict,
    workdir: str,
    mode: str = "train",
    interruption: Interruption | None = None,
) -> None:
    """Trains the stages of a configuration and evaluates the result, or only evaluates.

    Args:
      config: the configuration; see ``vqad.config.base_config``.
      workdir: folder for checkpoints, logs and the evaluation. A stage that finished there is not
        trained again; one that was interrupted continues.
      mode: ``train`` (then evaluate, if stage 3 is among the stages) or ``evaluate``.
      interruption: knows whether the run was asked to stop; None if nobody can.

    Raises:
      Interrupted: the run was asked to stop, and did between two steps.
      VqadError: bad input, found before any long work.
    """
    workdir = os.path.expanduser(workdir)
    validate(config, training=mode == "train")
    config.init_from = os.path.expanduser(config.init_from)
    check_reachable(workdir, f"--workdir={workdir}")
    root = epath.Path(workdir)
    if root.exists() and not root.is_dir():
        raise VqadError(f"--workdir={workdir}: is a file; give a folder")
    if link := next(links_out_of(root), None):
        raise VqadError(
            f"{link}: a link that leads out of --workdir, where nothing is to be written; take it "
            "away (a trained stage from elsewhere is given as --config.init_from)"
        )
    if odd := next(odd_files(root), None):
        raise VqadError(f"{odd}: a pipe or a device, where a run keeps files only; take it away")
    _keep_compiled(root / "compiled")
    try:
        if mode == "evaluate":
            if is_first():
                with less_memory(_LESS):
                    evaluate(config, workdir, checkpoints.find_folder(workdir))
            wait_for_all("the evaluation")
        else:
            lock = WorkdirLock(root)
            try:
                _train(config, workdir, interruption or Interruption(), lock)
            finally:
                lock.release()
    except OSError as error:
        name = f"{error.filename}: " if isinstance(error.filename, str) else ""
        raise VqadError(
            f"{name}{reason(error)}; mend that (disk space, permissions, or another --workdir) and "
            "run the same command again"
        ) from error


def _keep_compiled(folder: epath.Path) -> None:
    """Keeps what is compiled for the next start, if no place for it was given to JAX."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(absolute(folder)))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        if is_remote(folder):  # XLA writes its own ones without epath
            jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


def _train(config: ConfigDict, workdir: str, interruption: Interruption, lock: WorkdirLock) -> None:
    root = epath.Path(workdir)
    if root.exists() and is_first():
        lock.take()
    stages = [STAGES[name] for name in config.stages]
    last, completes = str(root / stages[-1].name), stages[-1].completes
    shardings = Shardings.over_devices(**config.mesh)
    if completes:
        check_split(config)
    steps = [checkpoints.latest_step(root / name) for name in STAGES]
    check_alike(
        [-1 if step is None else step for step in steps],
        f"--workdir={workdir}: what lies in it",
        "give a folder that all of them see",
    )
    left = []
    for i, stage in enumerate(stages):
        # What was trained from a stage does not need it any more, damaged or not.
        later = [checkpoints.latest_step(root / each.name) for each in stages[i + 1 :]]
        if is_first() and all(step is None for step in later):
            checkpoints.set_aside_damaged(root / stage.name)
        wait_for_all(f"checked {stage.name}")
        settings = config[stage.name]
        done = steps_done(config, stage, workdir)
        if done is not None and done >= settings.steps:
            logger.info("%s: already trained for %d steps, nothing to do", stage.name, done)
            continue
        shardings.check_divides(
            f"config.{stage.name}.batch_size",
            settings.batch_size,
            settings.accumulate_steps,
            settled=done is not None,
        )
        left.append(stage)
    if left and any(
        checkpoints.latest_step(root / later.name) is not None
        for later in stages[stages.index(left[0]) + 1 :]
    ):
        raise VqadError(
            f"{root}: {left[0].name} has steps left, but a later stage was trained already; move "
            "the later stage's folder away, or give another --workdir"
        )
    told: set[Finding] = set()  # of what is wrong with images, each is told once
    sources = _open_sources(config, left, told)
    _check_held_out(config, workdir, sources)
    evaluating = completes and (left or not is_evaluated(config, workdir, last))
    evaluating = evaluating and _has_test(config, sources, told)
    if left and is_first():
        root.mkdir(parents=True, exist_ok=True)
        lock.take()
        (root / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    logger.info("devices: %s", ", ".join(str(device) for device in jax.devices()))
    model = model_from_config(config)
    warm = _warm(config)
    for stage in left:
        interruption.check(f"before {stage.name}")
        earlier = _earlier(config, workdir, stage)
        observe = None
        if config.evaluation.every_steps and is_first():
            observe = observer(config, model, stage)
        # Taken out, so that what it keeps in memory goes with its last stage.
        source = sources.pop(stage.name)
        with less_memory(
            f"lower config.{stage.name}.batch_size, or raise config.{stage.name}.accumulate_steps"
        ):
            train_stage(config, model, stage, source, workdir, earlier, warm, interruption, observe)
    interruption.check("after the last stage")
    if evaluating and is_first() and not is_evaluated(config, workdir, last):
        with less_memory(_LESS):
            evaluate(config, workdir, last, told)
    if completes and is_first():
        with less_memory(_LESS):
            calibrate(config, last, told)
    wait_for_all("the end")


def _earlier(config: ConfigDict, workdir: str, stage: Stage) -> tuple[str, dict] | None:
    """Name and variables of the checkpoint that a stage starts from; None where it needs none."""
    if not stage.needs:
        return None
    if before := stage_before(config, stage):
        return _weights(config, str(epath.Path(workdir) / before))
    return _weights(config, config.init_from, f"config.init_from={config.init_from}")


def _warm(config: ConfigDict) -> tuple[str, dict] | None:
    """Name and variables of the modules that start trained, from ``config.init_from``."""
    if not config.warm_start:
        return None
    name, variables = _weights(config, config.init_from, f"config.init_from={config.init_from}")
    if absent := [module for module in config.warm_start if module not in variables["params"]]:
        raise VqadError(
            f"config.warm_start: {name} holds no {', '.join(absent)}; it holds "
            f"{', '.join(sorted(variables['params']))}"
        )
    params = {module: variables["params"][module] for module in config.warm_start}
    return name, {**variables, "params": params}


def _weights(config: ConfigDict, folder: str, name: str = "") -> tuple[str, dict]:
    """A checkpoint's name, by default its folder, and variables."""
    variables, metadata = checkpoints.load_weights(folder)
    check_units(config, variables, metadata, name or folder)
    return name or folder, variables


def _open_sources(config: ConfigDict, left: list[Stage], told: set[Finding]) -> dict[str, Source]:
    """Opens, and so checks, everything that the run will read."""
    size = tuple(config.image_size)
    opened = {}
    for field in dict.fromkeys(stage.source for stage in left):
        # Random parts are cut from pictures of their own size.
        wanted = (
            None if any(takes_random_crops(config, s) for s in left if s.source == field) else size
        )
        source = open_source(
            config[field],
            "train",
            wanted,
            labelled=field == "surface" and config.labelled_share > 0,
            tree=field == "pictures",
            told=told,
            **where_data_is(config, field),
        )
        if config.crop == "random" and source.num_labelled:
            raise VqadError(
                f"config.crop: random, but {config.surface} has labelled defects to train with, of "
                "which only whole images are taken; give --config.labelled_share=0 or "
                "--config.crop=whole"
            )
        if field == "surface":
            logger.info(
                "%s: %d good images and %d labelled defects to train with, which are %g of each "
                "batch (config.labelled_share)",
                source.name,
                len(source) - source.num_labelled,
                source.num_labelled,
                config.labelled_share if source.num_labelled else 0,
            )
        if field == "surface" and config.calibration.held_out:
            source, held = source.hold_out(config.calibration.held_out)
            conformal_rank(len(held), config.calibration.false_alarms)  # enough?
            logger.info("%s: %d good images are held out", source.name, len(held))
        opened[field] = source
    if left and left[0].needs and not stage_before(config, left[0]):
        checkpoints.find_folder(config.init_from)
    return {stage.name: opened[stage.source] for stage in left}


def _check_held_out(config: ConfigDict, workdir: str, sources: dict[str, Source]) -> None:
    """Refuses to hold out what a stage was trained on already, here or elsewhere."""
    if not config.calibration.held_out:
        return
    for name, source in sources.items():
        if STAGES[name].source != "surface":
            continue
        before, folders = stage_before(config, STAGES[name]), [str(epath.Path(workdir) / name)]
        if before not in sources:
            folders.append(str(epath.Path(workdir) / before) if before else config.init_from)
        for folder in folders:
            if checkpoints.latest_step(folder) is not None or folder == config.init_from:
                metadata = checkpoints.load_metadata(checkpoints.find_folder(folder))
                if metadata.get("stage") != "stage1":
                    share, images = config.calibration.held_out, source.fingerprint()
                    check_held_out(share, images, metadata, folder)


def _has_test(config: ConfigDict, sources: dict[str, Source], told: set[Finding]) -> bool:
    """Opens, and so checks, what the run will be evaluated on; without it, says so."""
    try:
        test = open_source(
            config.surface,
            "test",
            tuple(config.image_size),
            told=told,
            **where_data_is(config),
        )
    except NoTestSplit as error:
        logger.warning("warning: %s; trained without an evaluation", printable(str(error)))
        return False
    for name, source in sources.items():
        if STAGES[name].source == "surface":
            act_on(leaks(source, test), config.surface)
            break
    return True
