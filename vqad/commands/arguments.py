"""Arguments that several subcommands take."""

import argparse
import math
from collections.abc import Callable

from vqad.errors import VqadError


def number(
    kind: type[int] | type[float], low: float, high: float = math.inf
) -> Callable[[str], float]:
    """The type of an argument: a number of a kind, from ``low`` to ``high``."""
    bounds = f"at least {low}" if high == math.inf else f"between {low} and {high}"

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            what = "a whole number, " if kind is int and math.isnan(value) else ""
            raise argparse.ArgumentTypeError(f"{text}: must be {what}{bounds}")
        return value

    return parse


def model_argument(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, for ``vqad.load``."""
    text = "a run's workdir, a checkpoint folder, or what vqad export wrote"
    parser.add_argument("model", metavar="MODEL", help=text)


def prepared_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--data-dir`` and ``--allow-partial``, of prepared data sets."""
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where TFDS keeps its data (TFDS_DATA_DIR)"
    )
    parser.add_argument(
        "--allow-partial", action="store_true", help="accept less or more than was published"
    )


def tiling_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--tile``, ``--overlap`` and ``--batch``."""
    parser.add_argument(
        "--tile",
        action="store_true",
        help="cut images that are larger than the model's into tiles, in place of resizing them; "
        "each is looked at alone",
    )
    parser.add_argument(
        "--overlap",
        type=int,
        metavar="PIXELS",
        help="what neighbouring tiles share (a quarter of a tile)",
    )
    parser.add_argument(
        "--batch", type=number(int, 1), default=8, metavar="N", help="images or tiles at a time (8)"
    )


def check_tiling(args: argparse.Namespace) -> None:
    """Raises a VqadError for an overlap of what is not tiled."""
    if args.overlap is not None and not args.tile:
        raise VqadError(f"--overlap={args.overlap}: is of tiles; add --tile")
