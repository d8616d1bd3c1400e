"""The plan of a stage on a slice."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from vqad.config import validate_values
from vqad.plan.chips import Topology
from vqad.plan.collectives import collectives
from vqad.plan.compile import compile_step, slice_placement
from vqad.plan.hlo import Program
from vqad.plan.predict import predict
from vqad.plan.report import Plan
from vqad.plan.work import work
from vqad.stages import STAGES


def check(config: ConfigDict, topologies: Sequence[Topology], images_per_chip: int | None) -> None:
    """Checks all that is asked for before anything is compiled.

    Raises:
      VqadError: a bad value in the configuration, no such slice, a batch that the chips cannot
        share evenly.
    """
    validate_values(config)
    for topology in topologies:
        placement = slice_placement(config, topology)
        for name in config.stages:
            settings = config[name]
            field, size = f"config.{name}.batch_size", settings.batch_size
            if images_per_chip:
                field, size = (
                    f"--images_per_chip={images_per_chip}",
                    images_per_chip * topology.chips,
                )
            placement.check_batch_size(field, size, settings.accumulate_steps)


def plan_stage(
    config: ConfigDict,
    name: str,
    topology: Topology,
    images_per_chip: int | None = None,
    labelled: bool = False,
) -> Plan:
    """Compiles a stage's step for a slice and reads what it needs.

    Args:
      config: the run's configuration, checked.
      name: the stage.
      topology: the slice.
      images_per_chip: in place of the configuration's batch size.
      labelled: whether the surface has labelled defects.

    Raises:
      VqadError: the step does not fit the chips' memory.
    """
    config, stage = config.copy_and_resolve_references(), STAGES[name]
    settings = config[name]
    if images_per_chip:
        settings.batch_size = images_per_chip * topology.chips
    placement = slice_placement(config, topology)
    labelled = labelled and stage.source == "surface"
    compiled = compile_step(config, stage, placement, labelled)
    program = Program.parse(compiled.as_text())
    memory, done = compiled.memory_analysis(), work(program)
    found = collectives(program, topology.chips)
    return Plan(
        stage=name,
        topology=topology,
        images=settings.batch_size,
        steps=settings.steps,
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes,
        code_bytes=memory.generated_code_size_in_bytes,
        work=done,
        collectives=found,
        unknown_loops=program.unknown_loops(),
        prediction=predict(done, found, topology),
    )
