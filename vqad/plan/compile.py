"""Compiles a stage's train step for TPUs that are not there, and reads what it needs."""

import importlib.util
import os
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from vqad.errors import VqadError, reason
from vqad.plan.chips import Topology
from vqad.plan.hlo import parse
from vqad.plan.report import Plan
from vqad.plan.work import work
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
    """Readies this process to compile for TPUs on its CPU; to be called before JAX starts."""
    if importlib.util.find_spec("libtpu") is None:
        raise VqadError("vqad plan: needs libtpu, which compiles for TPUs; pip install 'vqad[tpu]'")
    for name, value in _LIBTPU_VARIABLES.items():
        os.environ.setdefault(name, value)
    # With libtpu installed JAX would look for TPUs of its own.
    jax.config.update("jax_platforms", "cpu")


def chips_of(topology: Topology) -> Sequence[jax.Device]:
    """The chips of a slice, as devices to compile for; a VqadError if there is no such slice."""
    try:
        return topologies.get_topology_desc(
            platform="tpu",
            topology_name=topology.name,
            chip_config_name=topology.chip.libtpu_config,
        ).devices
    except jax.errors.JaxRuntimeError as error:
        raise VqadError(f"--topology={topology.name}: {reason(error)}") from error


def plan_stage(trainer: Trainer, topology: Topology) -> Plan:
    """Compiles the step of a trainer over a slice's chips and reads what it needs."""
    compiled = compile_step(trainer)
    memory = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes  # that are no new state
    return Plan(
        stage=trainer.stage.name,
        topology=topology,
        images=trainer.settings["batch_size"],
        steps=trainer.settings["steps"],
        memory={
            "state and batch": memory.argument_size_in_bytes,
            "temporary": memory.temp_size_in_bytes + results,
            "program": memory.generated_code_size_in_bytes,
        },
        work=work(parse(compiled.as_text()), topology.chips),
    )


def compile_step(trainer: Trainer) -> jax.stages.Compiled:
    """The step that training would run; a VqadError if it does not fit the devices' memory."""
    try:
        return trainer.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        name = trainer.stage.name
        raise VqadError(
            f"{name}: the step does not fit the chips' memory ({reason(error)}); give fewer images "
            f"per chip, or a larger config.{name}.accumulate_steps"
        ) from error
