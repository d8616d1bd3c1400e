"""Evaluate a trained run again.

It is evaluated as its own configuration says. Fields can be given anew: --config.surface=DIR takes
another test split, --config.evaluation.split=images shares the work among devices.
"""

import argparse

from vqad.commands import train
from vqad.commands.arguments import Parser, add
from vqad.errors import VqadError


def arguments(parser: Parser) -> None:
    fields = "[--config.FIELD=VALUE ...]"
    parser.usage = (
        f"vqad evaluate RUN {fields}\n       vqad evaluate --config NAME --workdir FOLDER {fields}"
    )
    add(parser, "RUN", "a run's workdir", nargs="?")
    train.add_run(parser)
    parser.set_defaults(mode="evaluate", surface=None, pictures=None)


def run(args: argparse.Namespace) -> int:
    if args.run:
        if args.config or args.workdir:
            raise VqadError(f"{args.run}: give RUN alone, or --config and --workdir")
        from vqad.config import stored

        args.config, args.workdir = f"{stored.__file__}:{args.run}", args.run
    return train.run(args)
