"""Predict a training step on TPUs, from the program compiled for them, without a TPU."""

import argparse
import logging
import time

from vqad.commands.arguments import number
from vqad.commands.flags import CONFIG_HELP, NAMES, load_config

logger = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.usage = (
        "vqad plan --config NAME [--config.FIELD=VALUE ...] --topology SLICE[,SLICE...] "
        "[--images-per-chip N] [--labelled]"
    )
    parser.epilog = f"NAME is a file, or one of {NAMES}."
    parser.add_argument("--config", metavar="NAME", help=CONFIG_HELP)
    parser.add_argument(
        "--topology",
        required=True,
        metavar="SLICE[,SLICE...]",
        help="a chip and the chips along each side, as v5e:16x16 or v4:2x2x4 (v4, v5e, v5p, v6e)",
    )
    parser.add_argument(
        "--images-per-chip",
        type=number(int, 1),
        metavar="N",
        help="in place of the configuration's batch sizes",
    )
    parser.add_argument(
        "--labelled",
        action="store_true",
        help="the surface has labelled defects, which stages 2 and 3 train with",
    )


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
