"""Compiles the train step for TPUs that are not there."""

import importlib.util
import os

import jax
from jax.experimental import topologies
from ml_collections import ConfigDict

from vqad.config import model_from_config
from vqad.errors import VqadError
from vqad.plan.chips import Topology
from vqad.stages.stage import Stage
from vqad.training.sharding import Placement
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


def slice_placement(config: ConfigDict, topology: Topology) -> Placement:
    """The placement of a run over the chips of a slice.

    Raises:
      VqadError: libtpu knows no such slice; the mesh does not fit it.
    """
    try:
        found = topologies.get_topology_desc(
            platform="tpu",
            topology_name=topology.name,
            chip_config_name=topology.chip.libtpu_config,
        )
    except jax.errors.JaxRuntimeError as error:
        raise VqadError(f"--topology={topology.name}: {_first_line(error)}") from error
    return Placement.over_devices(devices=found.devices, **config.mesh)


def compile_step(
    config: ConfigDict, stage: Stage, placement: Placement, labelled: bool
) -> jax.stages.Compiled:
    """Compiles the step that training would run.

    Args:
      config: the run's configuration, its batch size one that the devices share evenly.
      stage: the stage.
      placement: where arrays live.
      labelled: whether the surface has labelled defects to train with.

    Raises:
      VqadError: the step does not fit the devices' memory.
    """
    trainer = Trainer(
        model_from_config(config),
        stage,
        config[stage.name].to_dict(),
        image_size=config.image_size,
        seed=config.seed,
        labelled=labelled and config.labelled_share > 0,
        sharding=placement,
    )
    try:
        return trainer.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise VqadError(
            f"{stage.name}: the step does not fit the chips' memory ({_first_line(error)}); give "
            f"fewer images per chip, or a larger config.{stage.name}.accumulate_steps"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
