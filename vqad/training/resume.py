"""What a stage's folder says of how it was trained, and whether a run may go on from it."""

import dataclasses
import json
import logging
from collections.abc import Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from vqad import checkpoints
from vqad.data.scan import fingerprint
from vqad.data.sources import TFDS_PREFIX
from vqad.errors import VqadError
from vqad.models.dsr import Dsr
from vqad.paths import real
from vqad.stages.stage import Stage

logger = logging.getLogger(__name__)

# Fields of the model that change nothing but rounding in its training.
_FREE = ("remat", "score_window")


def stage_before(config: ConfigDict, stage: Stage) -> str | None:
    """The stage of the run whose checkpoint a stage starts from; None for the first one."""
    i = config.stages.index(stage.name)
    return config.stages[i - 1] if i else None


def describe(config: ConfigDict, stage: Stage, workdir: str) -> dict[str, Any]:
    """The metadata of a stage's checkpoints in a run's folder, JSON-able.

    They are ``model`` (fields of ``Dsr``), ``stage``, ``fixed`` (settings that must not change
    while a stage trains), ``from_step`` (steps of the earlier stage in the same workdir that it
    started from, or None), ``config`` (all settings) and, where a folder was trained on,
    ``surface_folder`` or ``pictures_folder`` (where it really lies, whatever it is called) and
    ``surface_files`` (a fingerprint of names and sizes; None if it is not there).
    """
    fixed = {
        "seed": config.seed,
        "image_size": list(config.image_size),
        stage.source: config[stage.source],
        f"{stage.name}.batch_size": config[stage.name].batch_size,
    }
    fixed["value_range"] = list(config.value_range)
    if stage.source == "surface":
        fixed["labelled_share"] = config.labelled_share
        fixed["calibration.held_out"] = config.calibration.held_out
    from_step, before = None, stage_before(config, stage)
    if before:
        from_step = checkpoints.latest_step(epath.Path(workdir) / before)
    elif stage.needs:
        fixed["init_from"] = config.init_from
    description = {
        "model": config.model.to_dict(),
        "stage": stage.name,
        "fixed": fixed,
        "from_step": from_step,
        "config": config.to_dict(),
    }
    if not config[stage.source].startswith(TFDS_PREFIX):
        description[f"{stage.source}_folder"] = real(config[stage.source])
        if stage.source == "surface":
            description["surface_files"] = fingerprint(config.surface, config.follow_links)
    return json.loads(json.dumps(description))


def steps_done(config: ConfigDict, stage: Stage, workdir: str) -> int | None:
    """How far a stage has come in a workdir; None if not begun.

    Raises a VqadError if it was trained with other settings, or from an earlier stage that has been
    trained on since.
    """
    folder = epath.Path(workdir) / stage.name
    done = checkpoints.latest_step(folder)
    if done is None:
        return None
    old, new = checkpoints.load_metadata(folder), describe(config, stage, workdir)
    # Checkpoints from before a field was there were trained with its default.
    defaults = {field.name: field.default for field in dataclasses.fields(Dsr)}
    model = {k: v for k, v in new["model"].items() if k not in _FREE}
    _check_equal({**defaults, **old.get("model", {})}, model, "model.", folder)
    before = {"calibration.held_out": 0.0, "value_range": [], **old.get("fixed", {})}
    fixed = _same_data(stage.source, old, new, folder)
    for settings in (before, fixed):
        if isinstance(origin := settings.get("init_from"), str):
            settings["init_from"] = real(origin)
    _check_equal(before, fixed, "", folder)
    if old.get("from_step") != new["from_step"]:
        before = stage_before(config, stage)
        then, now = (
            f"another {before or 'checkpoint'}"
            if step is None or before is None
            else f"step {step} of {folder.parent / before}"
            for step in (old.get("from_step"), new["from_step"])
        )
        raise VqadError(
            f"{folder}: was trained from {then}, and this run would go on from {now}; move it away "
            "to train it anew, or give another --workdir"
        )
    then, now = (described.get("config", {}).get(stage.name, {}) for described in (old, new))
    if done < config[stage.name].steps and isinstance(then, Mapping):
        changes = [f"{k} {then[k]} -> {v}" for k, v in now.items() if then.get(k, v) != v]
        if changes:
            logger.info("%s: goes on with other settings: %s", stage.name, ", ".join(changes))
    return done


def _same_data(source: str, old: Mapping, new: Mapping, folder: epath.Path) -> dict[str, Any]:
    """The fixed settings that are compared as they are: without the data, if that is the same.

    Checkpoints from before say only how the folder was called, or where it lay.
    """
    then, now = old.get(f"{source}_folder"), new.get(f"{source}_folder")
    then = then or old.get("fixed", {}).get(source)
    if not isinstance(then, str) or now is None:
        return dict(new["fixed"])
    if then.startswith(TFDS_PREFIX) or real(then) != now:
        raise VqadError(
            f"config.{source}: {new['fixed'][source]} is {now}, but {folder} was trained on "
            f"{then}; give the same folder, or another --workdir"
        )
    files = old.get(f"{source}_files"), new.get(f"{source}_files")
    if None not in files and files[0] != files[1]:
        raise VqadError(
            f"config.{source}: {now} holds other training images than {folder} was trained on, by "
            "their names and sizes; give those again, or another --workdir"
        )
    return {key: value for key, value in new["fixed"].items() if key != source}


def check_units(config: ConfigDict, variables: Mapping, metadata: Mapping, folder: str) -> None:
    """Refuses restrictions that were trained with another ``code_units``, which no shape tells.

    Variables and metadata are of the checkpoint that messages call ``folder``; an autoencoder alone
    fits any configuration.
    """
    trained = metadata.get("model", {}).get("code_units", False)
    if "restriction_hi" in variables["params"] and trained != config.model.code_units:
        raise VqadError(
            f"config.model.code_units: {config.model.code_units}, but {folder} was trained with "
            f"{trained}; give --config.model.code_units={trained}"
        )


def check_held_out(share: float, images: str, metadata: Mapping, folder: str) -> None:
    """Refuses to hold out images that a stage may have been trained on: no promise would hold.

    ``images`` is the fingerprint of those that ``share`` leaves to train on, the metadata are of
    the stage's checkpoint in ``folder``.
    """
    if metadata.get("trained_on") != images:
        raise VqadError(
            f"config.calibration.held_out: {share:g}, but {folder} was trained on other images "
            "than are left now, perhaps on those held out; train it with the same share and "
            "images, or give 0 here and set thresholds by vqad calibrate"
        )


def _check_equal(old: Mapping, new: Mapping, prefix: str, folder: epath.Path) -> None:
    for name, value in new.items():
        if name in old and old[name] != value:
            raise VqadError(
                f"config.{prefix}{name}: {value}, but {folder} was trained with {old[name]}; give "
                "the same value, or another --workdir"
            )
