"""Predict a training step on TPUs, without having one.

The step is compiled for the chips, which takes minutes, and what it needs is read from the
program.
"""

import argparse
import logging
import time
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from vqad.commands.arguments import Parser, add, number
from vqad.commands.flags import add_config, load_config

if TYPE_CHECKING:
    from vqad.plan.chips import Topology
    from vqad.training.trainer import Trainer

logger = logging.getLogger(__name__)


def arguments(parser: Parser) -> None:
    add_config(parser)
    text = "a chip and the chips along each side, as v5e:16x16 or v4:2x2x4 (v4, v5e, v5p, v6e)"
    add(parser, "--topology SLICE[,SLICE...]", text, required=True)
    text = "in place of the configuration's batch sizes"
    add(parser, "--images-per-chip N", text, type=number(int, 1))
    add(parser, "--labelled", "the surface has labelled defects, which stages 2 and 3 train with")


def run(args: argparse.Namespace) -> None:
    """Compiles each stage's step for each slice and prints what it needs."""
    from vqad.plan.chips import Topology

    topologies = [Topology.parse(name) for name in args.topology.split(",")]
    config = load_config([f"--config={args.config or ''}", *args.fields])

    from vqad.plan.compile import plan_stage, use_libtpu
    from vqad.plan.report import FOOTER, describe, table

    use_libtpu()
    # All that is asked for is checked before anything is compiled.
    trainers = [trainers_on(one, config, args.images_per_chip, args.labelled) for one in topologies]
    plans = []
    for name in config.stages:
        for topology, on_slice in zip(topologies, trainers, strict=True):
            logger.info("compiling %s for %s; this takes minutes", name, topology.name)
            begun = time.perf_counter()
            plans.append(plan_stage(on_slice[name], topology))
            logger.info("compiled in %.0f s", time.perf_counter() - begun)
            print(describe(plans[-1]), flush=True)
    print(f"\n{FOOTER}\n\n{table(plans)}")


def trainers_on(
    topology: "Topology", config: ConfigDict, images_per_chip: int | None, labelled: bool
) -> "dict[str, Trainer]":
    """The trainers of a run's stages over a slice; errors as of ``run``."""
    from vqad.config import model_from_config, validate_values
    from vqad.plan.compile import chips_of
    from vqad.run_stage import make_trainer
    from vqad.stages import STAGES
    from vqad.training.sharding import Shardings

    validate_values(config)
    config = config.copy_and_resolve_references()
    model, trainers = model_from_config(config), {}
    shardings = Shardings.over_devices(devices=chips_of(topology), **config.mesh)
    for stage in (STAGES[name] for name in config.stages):
        settings, field = config[stage.name], f"config.{stage.name}.batch_size"
        if images_per_chip:
            field = f"--images-per-chip={images_per_chip}"
            settings.batch_size = images_per_chip * topology.chips
        shardings.check_divides(field, settings.batch_size, settings.accumulate_steps)
        masks = labelled and stage.source == "surface"
        trainers[stage.name] = make_trainer(config, stage, model, masks, shardings)
    return trainers
