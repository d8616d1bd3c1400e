"""Arguments that several subcommands take."""

import argparse

from vqad.errors import VqadError


def model_argument(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, for ``vqad.load``."""
    text = "a run's workdir, a checkpoint folder, or what vqad export wrote"
    parser.add_argument("model", metavar="MODEL", help=text)


def tiling_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--tile``, ``--overlap`` and ``--batch``."""
    parser.add_argument(
        "--tile",
        action="store_true",
        help="cut images that are larger than the model's into tiles, in place of resizing them; "
        "each is looked at alone",
    )
    parser.add_argument(
        "--overlap", type=int, help="pixels that neighbouring tiles share (a quarter of a tile)"
    )
    parser.add_argument("--batch", type=int, default=8, help="images or tiles at a time (8)")


def check_tiling(args: argparse.Namespace) -> None:
    """Raises a VqadError for values that cannot be."""
    if args.batch < 1:
        raise VqadError(f"--batch={args.batch}: must be at least 1")
    if args.overlap is not None and not args.tile:
        raise VqadError(f"--overlap={args.overlap}: is of tiles; add --tile")
