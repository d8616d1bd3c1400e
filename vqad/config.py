"""The configuration of a run: its fields with the paper's values, and what may stand in them."""

import dataclasses
import re
from typing import Any

from ml_collections import ConfigDict

from vqad.anomalies.perlin import MAX_CELLS
from vqad.errors import VqadError
from vqad.models.dsr import Dsr
from vqad.models.image_shape import check_image_size
from vqad.stages import MODULES, PAPER, STAGES
from vqad.training.optimizer import SCHEDULES
from vqad.training.sharding import IMAGE_SPLITS, SPLITS

KSDD2_SIZE = (640, 224)
CROPS = ("whole", "random")

_KINDS = {
    bool: (bool, "True or False"),
    int: (int, "a whole number"),
    float: (int | float, "a number"),
    str: (str, "text"),
    tuple: (tuple | list, "several values"),
}
_MOST = 2**31 - 1
_WIDEST = 2**16  # of layers, batches and images: what is larger fits no memory


def base_config(surface: str = "") -> ConfigDict:
    """All fields of a configuration, with the paper's settings.

    Args:
      surface: a data set of a surface, as ``ksdd2`` (640 x 224 in place of 256 x 256),
        ``ksdd2_supervised_16`` or ``mvtec_ad/bottle``, which becomes ``config.surface``; ``folder``
        or nothing for a folder, to be given as ``config.surface``.

    Returns:
      An unlocked ConfigDict; files in ``configs/`` change it and return it.

    Raises:
      VqadError: no such surface.
    """
    source = _surface_source(surface)
    size = KSDD2_SIZE if source.startswith("tfds:ksdd2/") else (256, 256)
    stage = {
        "learning_rate": 2e-4,
        # The rate after its warm-up (a linear rise): ``drop`` multiplies it once by ``drop_factor``
        # after the share ``drop_after`` of the steps, ``cosine`` lets it fall to zero.
        "schedule": "drop",
        "warmup_steps": 0,
        "drop_after": 1.0,
        "drop_factor": 0.1,
        # Largest norm of the gradients, longer ones are shortened; 0 leaves all as they are.
        "clip_norm": 0.0,
        # Decay of the moving average of the weights that checkpoints hold; 0 keeps the last ones.
        "average_decay": 0.0,
        # Parts that a batch is worked on in, one after the other, where it does not fit the memory.
        "accumulate_steps": 1,
    }
    surface_stage = {
        **stage,
        "rotation_probability": 0.4,
        # Most cells along a side of the noise that masks are cut from, a power of two.
        "max_cells": MAX_CELLS,
        # Off in the paper: shares of the images that lose their colour, and of those that get a
        # mark (a spot, a curve, a patch) in place of codes that are replaced one by one.
        "gray_probability": 0.0,
        "mark_share": 0.0,
    }
    disturbed_stage = {**surface_stage, "min_strength": 0.2}
    return ConfigDict(
        {
            "seed": 0,
            # Stages to run, in order, each in its own folder of the workdir.
            "stages": ("stage1", "stage2", "stage3"),
            # (height, width), both divisible by 32.
            "image_size": size,
            "model": {
                "hiddens": 128,
                "residual_hiddens": 64,
                "residual_layers": 2,
                "code_dim": 128,
                "num_codes": 4096,
                "restriction_width": 0,
                "code_units": False,
                "object_bottleneck": 64,
                "unet_width": 64,
                "commitment_cost": 0.25,
                "decay": 0.99,
                "reseed_below": 0.0,
                "score_window": 21,
                "remat": False,
                "dtype": "float32",
            },
            # Where images come from: a folder, or tfds:<name>[/<config>].
            "pictures": "",
            "surface": source,
            # Where TFDS keeps prepared data; "" for its default.
            "data_dir": "",
            # Archive or folder that a public data set (tfds:ksdd2, tfds:mvtec_ad/bottle, ...) is
            # prepared from, if it is not prepared yet; with allow_partial even if not all is there.
            # The surface's, where a run needs pictures and a surface.
            "manual_dir": "",
            "allow_partial": False,
            # Processes that load images; 0 loads in threads of the training process.
            "loading_workers": 0,
            # Share of the images of stages 2 and 3 that are labelled defects, where the surface's
            # training images have such; 0 leaves them out.
            "labelled_share": 0.25,
            # Share of the surface's good training images that stages 2 and 3 leave out, to set the
            # model's thresholds by after stage 3 (0: none, and no thresholds), and the share of
            # good parts that may be called defective.
            "calibration": {"held_out": 0.0, "false_alarms": 0.01},
            # Checkpoint that the first stage of the run starts from, where it needs one.
            "init_from": "",
            # Modules that start from that checkpoint too, of those that the run trains.
            "warm_start": (),
            # What stages 2 and 3 see of a surface's image: the whole, or a random part of it,
            # mirrored half of the time, as stage 1 does of pictures.
            "crop": "whole",
            # Devices: data x model, -1 for all that are left. What of the state is split over them:
            # nothing, optimizer (over data) or parameters and optimizer (over model).
            "mesh": {"data": -1, "model": 1, "split": "nothing"},
            "stage1": {
                "steps": 200_000,
                "batch_size": 32,
                **stage,
                # For surfaces seen by a grey camera: share of the pictures that lose their colour.
                "gray_probability": 0.0,
                # Start with features of unit variance on the first batch; off in the paper.
                "standardize_features": False,
                # Share of the images that are decoded from the lo codes alone, so that these learn
                # to carry the coarse appearance; 0 in the paper.
                "hi_dropout": 0.0,
            },
            "stage2": {
                "steps": 100_000,
                "batch_size": 8,
                **disturbed_stage,
                "drop_after": 0.8,
                "feature_weight": 1.0,
                "image_weight": 10.0,
            },
            # In place of stage2, one after the other: what it trains jointly.
            "restrictions": {"steps": 100_000, "batch_size": 8, **disturbed_stage},
            "object_decoder": {"steps": 100_000, "batch_size": 8, **disturbed_stage},
            "detector": {"steps": 100_000, "batch_size": 8, **disturbed_stage},
            "stage3": {
                "steps": 20_000,
                "batch_size": 8,
                **surface_stage,
                "rotation_probability": 0.3,
            },
            "checkpoint": {"every_steps": 1000, "keep": 3},
            # Steps of each stage to trace, for TensorBoard or Perfetto and a table.
            "profile_steps": 0,
            "log": {"every_steps": 100, "images_every_steps": 1000},
            "evaluation": {
                "batch_size": 8,
                # What all devices share: nothing (one works), images of a batch, or the height of
                # each image, where one does not fit a device's memory.
                "split": "nothing",
                "cases": 4,
                # Steps after which figures of the test split are taken along a stage; 0 never.
                "every_steps": 0,
                # Modules to judge with fresh parameters, by commas: what would they do untrained?
                "reinitialize": "",
            },
        }
    )


def _surface_source(surface: str) -> str:
    name, _, config = surface.partition("/")
    if surface in ("", "folder"):
        return ""
    if surface == "ksdd2":
        return "tfds:ksdd2/unsupervised"
    if re.fullmatch(r"ksdd2_supervised_(16|53|126|246)", surface):
        return f"tfds:ksdd2/{surface.removeprefix('ksdd2_')}"
    if surface in ("kolektor_sdd", "magnetic_tile") or (name in ("mvtec_ad", "visa") and config):
        return f"tfds:{surface}"
    raise VqadError(
        f"configuration for {surface}: no such surface; give ksdd2, ksdd2_supervised_16 (_53, "
        "_126, _246), mvtec_ad/<category>, visa/<object>, kolektor_sdd, magnetic_tile, folder or "
        "nothing"
    )


def model_from_config(config: ConfigDict) -> Dsr:
    """Builds the network from ``config.model``.

    Raises:
      VqadError: a field that ``Dsr`` does not have.
    """
    import jax.numpy as jnp

    fields = dict(config.model)
    fields["dtype"] = jnp.dtype(fields["dtype"])
    return Dsr(**fields)


def where_data_is(config: ConfigDict, field: str = "surface") -> dict[str, Any]:
    """What ``open_source`` is told of data sets that TFDS prepares.

    Args:
      config: the configuration.
      field: ``surface`` or ``pictures``; of a run that needs both, ``manual_dir`` is the surface's.
    """
    where = {"data_dir": config.data_dir or None}
    if field == "surface" or all(STAGES[name].source == field for name in config.stages):
        where["manual_dir"] = config.manual_dir or None
        where["allow_partial"] = config.allow_partial
    return where


def validate(config: ConfigDict, training: bool = True) -> None:
    """Checks every value of a configuration before anything starts.

    Args:
      config: the configuration.
      training: whether it is to be trained, and so needs its sources.

    Raises:
      VqadError: the first bad value, named.
    """
    validate_values(config)
    if training:
        _check_sources(config)
    elif not config.surface:
        raise VqadError("config.surface: empty; give the folder or tfds:<name> to judge on")


def validate_values(config: ConfigDict) -> None:
    """Checks every value of a configuration but those that say where data is.

    Raises:
      VqadError: the first bad value, named.
    """
    _check_fields("config", config, base_config())
    if not config.stages or any(name not in STAGES for name in config.stages):
        raise VqadError(f"config.stages: {config.stages}; give some of {', '.join(STAGES)}")
    _check_order(config.stages)
    for module in config.warm_start:
        if module not in MODULES:
            raise VqadError(
                f"config.warm_start: no module {module}; there are {', '.join(MODULES)}"
            )
    if config.crop not in CROPS:
        raise VqadError(f"config.crop: {config.crop}; give one of {', '.join(CROPS)}")
    if not 0 <= config.seed < 2**32:
        raise VqadError(f"config.seed: {config.seed}; must be a whole number from 0 to 2^32 - 1")
    if len(config.image_size) != 2:
        raise VqadError(f"config.image_size: {config.image_size}; give (height, width)")
    check_image_size(config.image_size, "config.image_size")
    for side in config.image_size:
        _at_least("config.image_size", side, 1, _WIDEST)
    _at_least("config.profile_steps", config.profile_steps, 0)
    _at_least("config.loading_workers", config.loading_workers, 0)
    if config.mesh.data != -1:
        _at_least("config.mesh.data", config.mesh.data, 1)
    _at_least("config.mesh.model", config.mesh.model, 1)
    if config.mesh.split not in SPLITS:
        raise VqadError(f"config.mesh.split: {config.mesh.split}; give one of {', '.join(SPLITS)}")
    if config.evaluation.split not in IMAGE_SPLITS:
        raise VqadError(
            f"config.evaluation.split: {config.evaluation.split}; give one of "
            f"{', '.join(IMAGE_SPLITS)}"
        )
    _within("config.labelled_share", config.labelled_share, 0, 0.95)
    _within("config.calibration.held_out", config.calibration.held_out, 0, 0.9)
    _within("config.calibration.false_alarms", config.calibration.false_alarms, 1e-6, 0.999999)
    check_model(config.model)
    for name in STAGES:
        _check_stage(name, config[name])
    for name, low in (
        ("checkpoint.every_steps", 1),
        ("checkpoint.keep", 1),
        ("log.every_steps", 1),
        ("log.images_every_steps", 1),
        ("evaluation.batch_size", 1),
        ("evaluation.every_steps", 0),
        ("evaluation.cases", 1),
    ):
        section, field = name.split(".")
        high = _WIDEST if field in ("batch_size", "cases") else _MOST
        _at_least(f"config.{name}", config[section][field], low, high)
    for name in filter(None, config.evaluation.reinitialize.split(",")):
        if name not in MODULES:
            raise VqadError(
                f"config.evaluation.reinitialize: no module {name}; there are {', '.join(MODULES)}"
            )


def _check_order(names: tuple[str, ...]) -> None:
    stages = [STAGES[name] for name in names]
    trained, used = set(stages[0].needs), set()
    for stage in stages:
        missing = [module for module in stage.needs if module not in trained]
        if missing or used.intersection(stage.trains):
            raise VqadError(
                f"config.stages: {names}; give stages in order, without a gap, as "
                f"{', '.join(PAPER)}: {stage.name} needs {', '.join(stage.needs) or 'nothing'}"
            )
        trained.update(stage.trains)
        used.update(stage.needs)


def _check_fields(name: str, config: ConfigDict, allowed: ConfigDict) -> None:
    for key in config:
        if key not in allowed:
            known = ", ".join(sorted(allowed))
            raise VqadError(f"{name}.{key}: no such field; {name} has {known}")
        if isinstance(allowed[key], ConfigDict):
            if not isinstance(config[key], ConfigDict):
                raise VqadError(f"{name}.{key}: must hold fields, not {config[key]!r}")
            _check_fields(f"{name}.{key}", config[key], allowed[key])
        else:
            _check_kind(f"{name}.{key}", config[key], allowed[key])
    for key in allowed:
        if key not in config:
            raise VqadError(f"{name}.{key}: missing; start from base_config()")


def _check_kind(name: str, value: Any, default: Any) -> None:
    """Refuses what is of another kind than the default; a whole number may be a fraction."""
    kind, what = _KINDS[type(default)]
    if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, kind):
        raise VqadError(f"{name}: {value!r}; must be {what}, as {default!r}")
    for each in value if isinstance(default, tuple) else ():
        _check_kind(name, each, default[0] if default else "")


def check_model(model: ConfigDict) -> None:
    """Checks the fields of ``config.model``.

    Raises:
      VqadError: the first bad value, named.
    """
    for field in dataclasses.fields(Dsr):
        if field.type is int and field.name in model:
            low = 0 if field.name == "restriction_width" else 1
            _at_least(f"config.model.{field.name}", model[field.name], low, _WIDEST)
    if model.hiddens < 2:
        raise VqadError(f"config.model.hiddens: {model.hiddens}; must be at least 2")
    if model.num_codes < 8:
        raise VqadError(f"config.model.num_codes: {model.num_codes}; must be at least 8")
    if model.score_window % 2 == 0:
        raise VqadError(f"config.model.score_window: {model.score_window}; must be odd")
    if model.dtype not in ("float32", "bfloat16"):
        raise VqadError(f"config.model.dtype: {model.dtype!r}; give float32 or bfloat16")
    _within("config.model.decay", model.decay, 0, 0.999999)
    _within("config.model.commitment_cost", model.commitment_cost, 0, float("inf"))
    _within("config.model.reseed_below", model.reseed_below, 0, 1)


def _check_stage(name: str, stage: ConfigDict) -> None:
    _at_least(f"config.{name}.steps", stage.steps, 0)
    _at_least(f"config.{name}.batch_size", stage.batch_size, 1, _WIDEST)
    _at_least(f"config.{name}.accumulate_steps", stage.accumulate_steps, 1)
    _at_least(f"config.{name}.warmup_steps", stage.warmup_steps, 0)
    if stage.schedule not in SCHEDULES:
        raise VqadError(
            f"config.{name}.schedule: {stage.schedule}; give one of {', '.join(SCHEDULES)}"
        )
    _within(f"config.{name}.clip_norm", stage.clip_norm, 0, float("inf"))
    _within(f"config.{name}.average_decay", stage.average_decay, 0, 0.999999)
    if not 0 < stage.learning_rate < float("inf"):
        raise VqadError(f"config.{name}.learning_rate: {stage.learning_rate}; must be above 0")
    shares = {
        "drop_after",
        "drop_factor",
        "rotation_probability",
        "gray_probability",
        "mark_share",
        "hi_dropout",
        "min_strength",
    }
    for field in stage:
        if field in shares:
            _within(f"config.{name}.{field}", stage[field], 0, 1)
        elif field == "max_cells":
            _at_least(f"config.{name}.{field}", stage[field], 1)
            if MAX_CELLS % stage[field]:
                raise VqadError(
                    f"config.{name}.{field}: {stage[field]}; give a power of two up to {MAX_CELLS}"
                )
        elif field.endswith("_weight"):
            _within(f"config.{name}.{field}", stage[field], 0, float("inf"))


def _check_sources(config: ConfigDict) -> None:
    for stage in config.stages:
        field = STAGES[stage].source
        if not config[field]:
            raise VqadError(
                f"config.{field}: empty, but {stage} needs it; give a folder or tfds:<name>, "
                f"as in --config.{field}=/data/{field}"
            )
    first = STAGES[config.stages[0]]
    if config.init_from and not first.needs and not config.warm_start:
        raise VqadError(
            f"config.init_from: {config.init_from}, but stage1 starts from nothing; leave it out, "
            "or leave stage1 out of config.stages"
        )
    if (first.needs or config.warm_start) and not config.init_from:
        wants = config.warm_start or first.needs
        raise VqadError(
            f"config.init_from: empty, but {first.name} starts from a checkpoint that holds "
            f"{', '.join(wants)}; give its folder, as in --config.init_from=runs/stage1"
        )


def _at_least(name: str, value: int, low: int, high: int = _MOST) -> None:
    if not low <= value <= high:
        what = f"at least {low}" if value < low else f"at most {high}"
        raise VqadError(f"{name}: {value!r}; must be a whole number of {what}")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high or value == float("inf"):
        raise VqadError(f"{name}: {value!r}; must be between {low} and {high}")
