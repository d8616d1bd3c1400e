"""The subcommand `vqad benchmark`; what it needs is imported when it runs."""

import argparse
import os
import re

from vqad.commands.arguments import model_argument
from vqad.errors import VqadError


def benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the subcommand."""
    model_argument(parser)
    parser.add_argument("--batch", default="1,8", help="sizes of batches, by commas (1,8)")
    parser.add_argument(
        "--seconds", type=float, default=10, help="time for each runtime and size of batch (10)"
    )


def run_benchmark(args: argparse.Namespace) -> int:
    """Runs the subcommand.

    Returns:
      The exit code, 0.

    Raises:
      VqadError: bad arguments, or no model.
    """
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", args.batch, re.ASCII):
        raise VqadError(f"--batch={args.batch}: give whole numbers from 1 to 9999, as 1,8")
    if not 0 < args.seconds <= 86400:
        raise VqadError(f"--seconds={args.seconds:g}: give seconds above 0, up to a day")
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from vqad.interop.benchmark import measure, table
    from vqad.interop.load import load

    trained = load(args.model)
    batches = [int(size) for size in args.batch.split(",")]
    timings = list(measure(trained, batches, args.seconds))
    height, width = trained.image_size
    print(f"{height} x {width}, {os.cpu_count()} CPUs; runtimes took turns, warm-up is apart\n")
    print(table(timings))
    return 0
