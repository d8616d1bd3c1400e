"""Predict a training step on TPUs, from the program compiled for them, without a TPU."""

import argparse
import logging
import time

from vqad.commands.arguments import Parser, add, number
from vqad.commands.flags import add_config, load_config

logger = logging.getLogger(__name__)


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
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

    from vqad.plan.compile import on_slice, plan_stage, use_libtpu
    from vqad.plan.report import FOOTER, describe, table

    use_libtpu()
    # All that is asked for is checked before anything is compiled.
    slices = [(one, *on_slice(config, one, args.images_per_chip)) for one in topologies]
    plans = []
    for name in config.stages:
        for topology, sized, shardings in slices:
            logger.info("compiling %s for %s; this takes minutes", name, topology.name)
            begun = time.perf_counter()
            plans.append(plan_stage(sized, name, topology, shardings, args.labelled))
            logger.info("compiled in %.0f s", time.perf_counter() - begun)
            print(describe(plans[-1]), flush=True)
    print(f"\n{FOOTER}\n\n{table(plans)}")
