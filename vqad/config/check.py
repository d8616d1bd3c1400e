"""Checks every value of a configuration before anything starts."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vqad.config.base import base_config, fields, model_from_config
from vqad.config.fields import WIDEST, whole
from vqad.errors import VqadError
from vqad.models.dsr import Dsr
from vqad.models.image_shape import check_image_size
from vqad.stages import MODULES, PAPER, STAGES


def validate(config: ConfigDict, training: bool = True) -> None:
    """Refuses the first bad value of a configuration; if it is to be trained, sources too."""
    validate_values(config)
    if training:
        _check_sources(config)
    elif not config.surface:
        raise VqadError("config.surface: empty; give the folder or tfds:<name> to evaluate on")


def validate_values(config: ConfigDict) -> None:
    """Refuses the first bad value of a configuration, but where data is."""
    _check(config, fields(), "config")
    if not config.stages or any(name not in STAGES for name in config.stages):
        raise VqadError(f"config.stages: {config.stages}; give some of {', '.join(STAGES)}")
    _check_order(config.stages)
    for name, modules in {
        "warm_start": config.warm_start,
        "evaluation.reinitialize": filter(None, config.evaluation.reinitialize.split(",")),
    }.items():
        if unknown := [module for module in modules if module not in MODULES]:
            known = ", ".join(MODULES)
            raise VqadError(f"config.{name}: no module {unknown[0]}; there are {known}")
    if len(config.image_size) != 2:
        raise VqadError(f"config.image_size: {config.image_size}; give (height, width)")
    check_image_size(config.image_size, "config.image_size")
    for side in config.image_size:
        whole(1, 1, WIDEST)("config.image_size", side)
    if config.mesh.data == 0:
        raise VqadError("config.mesh.data: 0; give a number of devices, or -1 for all")


def build_model(given: Mapping[str, Any]) -> Dsr:
    """The network that has these fields, and defaults of others; a VqadError for a bad one."""
    config = base_config()
    config.model.update(dict(given))
    _check(config.model, fields()["model"], "config.model")
    return model_from_config(config)


def _check(config: Mapping[str, Any], allowed: Mapping[str, Any], name: str) -> None:
    for key in config:
        if key not in allowed:
            known = ", ".join(sorted(allowed))
            raise VqadError(f"{name}.{key}: no such field; {name} has {known}")
    for key, field in allowed.items():
        if key not in config:
            raise VqadError(f"{name}.{key}: missing; start from base_config()")
        if not isinstance(field, Mapping):
            field(f"{name}.{key}", config[key])
        elif not isinstance(config[key], ConfigDict):
            raise VqadError(f"{name}.{key}: must hold fields, not {config[key]!r}")
        else:
            _check(config[key], field, f"{name}.{key}")


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


def _check_sources(config: ConfigDict) -> None:
    for stage in config.stages:
        field = STAGES[stage].source
        if not config[field]:
            raise VqadError(
                f"config.{field}: empty, but {stage} needs it; give a folder or tfds:<name>, "
                f"as in --config.{field}=/data/{field}"
            )
    first = STAGES[config.stages[0]]
    wants = config.warm_start or first.needs
    if config.init_from and not wants:
        raise VqadError(
            f"config.init_from: {config.init_from}, but stage1 starts from nothing; leave it out, "
            "or leave stage1 out of config.stages"
        )
    if wants and not config.init_from:
        raise VqadError(
            f"config.init_from: empty, but {first.name} starts from a checkpoint that holds "
            f"{', '.join(wants)}; give its folder, as in --config.init_from=runs/stage1"
        )
