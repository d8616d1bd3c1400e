"""How subcommands declare their arguments, and those that several take."""

import argparse
import math
from collections.abc import Callable
from typing import Any

from vqad.errors import VqadError

Parser = argparse.ArgumentParser


def add(parser: Parser, spec: str, text: str, default: Any = None, **more: Any) -> None:
    """Adds an argument to a parser or a group.

    ``spec`` is a flag and what its value is called, as ``--port N``; without that it is on or off.
    Or it is an argument without a flag, as ``MODEL``, of which there are several in ``IMAGES...``.
    The help tells ``text`` and, behind it, the default. What else there is, ``add_argument`` takes.
    """
    name, _, value = spec.partition(" ")
    if not name.startswith("-"):
        word = name.removesuffix("...")
        if word != name:
            more["nargs"] = "+"
        parser.add_argument(more.pop("dest", word.lower()), metavar=word, help=text, **more)
    elif not (value or "choices" in more):
        parser.add_argument(name, action="store_true", help=text)
    else:
        told = text if default is None else f"{text} ({default})"
        parser.add_argument(name, metavar=value or None, default=default, help=told, **more)


def number(kind: type, low: float, high: float = math.inf) -> Callable[[str], float]:
    """The type of an argument: a number of a kind, from ``low`` to ``high``."""
    bounds = f"at least {low}" if high == math.inf else f"between {low} and {high}"

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text}: must be {bounds}")
        return value

    return parse


def value_range(text: str) -> tuple[float, float]:
    """The type of an argument: LOW,HIGH, the numbers of black and white."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not -math.inf < low < high < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be LOW,HIGH, as 0,4095")
    return low, high


def add_value_range(parser: Parser) -> None:
    """Adds ``--value-range``."""
    text = (
        "numbers of black and white in pictures of more than 8 bits, as 0,4095 of 12 (the file's)"
    )
    add(parser, "--value-range LOW,HIGH", text, type=value_range)


def add_model(parser: Parser) -> None:
    """Adds MODEL, for ``vqad.load``."""
    add(parser, "MODEL", "a run's workdir, a checkpoint folder, or what vqad export wrote")


def add_prepared(parser: Parser) -> None:
    """Adds ``--data-dir`` and ``--allow-partial``, of prepared data sets."""
    add(parser, "--data-dir DIR", "where TFDS keeps its data (TFDS_DATA_DIR)")
    add(parser, "--allow-partial", "accept less or more than was published")


def add_follow_links(parser: Parser) -> None:
    """Adds ``--follow-links``, of folders of pictures."""
    add(parser, "--follow-links", "follow links in folders, wherever they lead")


def add_tiling(parser: Parser) -> None:
    """Adds ``--tile``, ``--overlap`` and ``--batch``; see ``tiling``."""
    add(
        parser,
        "--tile",
        "cut images that are larger than the model's into tiles, in place of resizing them; each "
        "is looked at alone",
    )
    add(parser, "--overlap N", "pixels that neighbouring tiles share (a quarter)", type=int)
    add(parser, "--batch N", "images or tiles at a time", 8, type=number(int, 1))


def tiling(args: argparse.Namespace) -> dict[str, Any]:
    """``tile``, ``overlap`` and ``batch_size``, as a ``Detector`` takes them."""
    if args.overlap is not None and not args.tile:
        raise VqadError(f"--overlap={args.overlap}: is of tiles; add --tile")
    return {"tile": args.tile, "overlap": args.overlap, "batch_size": args.batch}
