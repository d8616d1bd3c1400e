"""Turn a PyTorch checkpoint of DSR into a vqad checkpoint."""

import argparse

from vqad.commands.arguments import Parser, add


def arguments(parser: Parser) -> None:
    text = "the authors' checkpoint directory or stage-1 file, or anomalib's checkpoint or state"
    add(parser, "SRC", f"{text} dict")
    add(parser, "OUT", "the folder to write; new or empty")


def run(args: argparse.Namespace) -> None:
    """Reads a PyTorch checkpoint and writes a vqad checkpoint."""
    from vqad.interop.import_weights import import_weights

    metadata = import_weights(args.src, args.out)
    sizes = ", ".join(f"{name} {size}" for name, size in metadata["model"].items())
    origin = metadata["origin"]
    print(f"wrote {args.out}: {sizes} (from {origin['format']}, {origin['channel_order']})")
