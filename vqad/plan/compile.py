"""Compiles a stage's train step for TPUs that are not there, and reads what it needs."""

import importlib.util
import os

import jax
from jax.experimental import topologies
from ml_collections import ConfigDict

from vqad.config import model_from_config, validate_values
from vqad.errors import VqadError, reason
from vqad.plan.chips import Topology
from vqad.plan.hlo import parse
from vqad.plan.predict import predict
from vqad.plan.report import Plan
from vqad.plan.work import work
from vqad.stages import STAGES
from vqad.stages.stage import Stage
from vqad.training.sharding import Shardings
from vqad.training.trainer import Trainer

_LIBTPU_VARIABLES = {
    # Otherwise it asks the network what machine this is, and locks itself for one process.
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # What it logs: errors come as exceptions as well.
    "TPU_LOG_DIR": "disabled",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}


def use_libtpu() -> None:
    """Readies this process to compile for TPUs on its CPU; to be called before JAX starts.

    Raises:
      VqadError: libtpu is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise VqadError(
            "vqad plan: the package libtpu, which compiles for TPUs, is not installed; "
            "pip install 'vqad[tpu]'"
        )
    for name, value in _LIBTPU_VARIABLES.items():
        os.environ.setdefault(name, value)
    # With libtpu installed JAX would look for TPUs of its own.
    jax.config.update("jax_platforms", "cpu")


def on_slice(
    config: ConfigDict, topology: Topology, images_per_chip: int | None = None
) -> tuple[ConfigDict, Shardings]:
    """A run's configuration with its batch sizes, or these images, and its shardings over chips.

    Raises:
      VqadError: a bad value in the configuration, no such slice, a mesh that does not fit it, a
        batch that the chips cannot share evenly.
    """
    validate_values(config)
    config = config.copy_and_resolve_references()
    try:
        found = topologies.get_topology_desc(
            platform="tpu",
            topology_name=topology.name,
            chip_config_name=topology.chip.libtpu_config,
        )
    except jax.errors.JaxRuntimeError as error:
        raise VqadError(f"--topology={topology.name}: {reason(error)}") from error
    shardings = Shardings.over_devices(devices=found.devices, **config.mesh)
    for name in config.stages:
        settings, field = config[name], f"config.{name}.batch_size"
        if images_per_chip:
            field = f"--images_per_chip={images_per_chip}"
            settings.batch_size = images_per_chip * topology.chips
        shardings.check_batch_size(field, settings.batch_size, settings.accumulate_steps)
    return config, shardings


def plan_stage(
    config: ConfigDict, name: str, topology: Topology, shardings: Shardings, labelled: bool
) -> Plan:
    """Compiles a stage's step for a slice and reads what it needs.

    Args:
      config: the run's configuration ``on_slice``.
      name: the stage.
      topology: the slice.
      shardings: over its chips.
      labelled: whether the surface has labelled defects to train with.

    Raises:
      VqadError: the step does not fit the chips' memory.
    """
    stage, settings = STAGES[name], config[name]
    compiled = compile_step(config, stage, shardings, labelled)
    memory, done = compiled.memory_analysis(), work(parse(compiled.as_text()), topology.chips)
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes  # that are no new state
    return Plan(
        stage=name,
        topology=topology,
        images=settings.batch_size,
        steps=settings.steps,
        memory={
            "state and batch": memory.argument_size_in_bytes,
            "temporary": memory.temp_size_in_bytes + results,
            "program": memory.generated_code_size_in_bytes,
        },
        work=done,
        prediction=predict(done, topology),
    )


def compile_step(
    config: ConfigDict, stage: Stage, shardings: Shardings, labelled: bool
) -> jax.stages.Compiled:
    """Compiles the step that training would run, of a batch that the devices share evenly.

    Raises:
      VqadError: the step does not fit the devices' memory.
    """
    trainer = Trainer(
        model_from_config(config),
        stage,
        config[stage.name].to_dict(),
        image_size=config.image_size,
        seed=config.seed,
        labelled=labelled and stage.source == "surface" and config.labelled_share > 0,
        shardings=shardings,
    )
    try:
        return trainer.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise VqadError(
            f"{stage.name}: the step does not fit the chips' memory ({reason(error)}); give "
            f"fewer images per chip, or a larger config.{stage.name}.accumulate_steps"
        ) from error
