"""Time a model on this CPU: JAX, ONNX Runtime, OpenVINO.

Those that are not installed are left out.
"""

import argparse
import os
import re

from vqad.commands.arguments import Parser, add, add_model, number


def arguments(parser: Parser) -> None:
    add_model(parser)
    add(parser, "--batch N,...", "sizes of batches", "1,8", type=_sizes)
    seconds = number(float, 0.01, 86400)
    add(parser, "--seconds S", "time for each runtime and size of batch", 10.0, type=seconds)


def _sizes(text: str) -> list[int]:
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text}: must be whole numbers from 1 to 9999, as 1,8")
    return [int(size) for size in text.split(",")]


def run(args: argparse.Namespace) -> None:
    """Measures the runtimes that are installed and prints a table."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from vqad.interop.benchmark import measure, table
    from vqad.interop.load import load

    trained = load(args.model)
    timings = list(measure(trained, args.batch, args.seconds))
    height, width = trained.image_size
    print(f"{height} x {width}, {os.cpu_count()} CPUs; runtimes took turns, warm-up is apart\n")
    print(table(timings))
