"""Turn a PyTorch checkpoint of DSR into a vqad checkpoint."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "src",
        metavar="SRC",
        help="the authors' checkpoint directory or stage-1 file, or a Lightning checkpoint or "
        "state dict of anomalib",
    )
    parser.add_argument("out", metavar="OUT", help="the folder to write; new or empty")


def run(args: argparse.Namespace) -> None:
    """Reads a PyTorch checkpoint and writes a vqad checkpoint."""
    from vqad.interop.import_weights import import_weights

    metadata = import_weights(args.src, args.out)
    sizes = ", ".join(f"{name} {size}" for name, size in metadata["model"].items())
    origin = metadata["origin"]
    print(f"wrote {args.out}: {sizes} (from {origin['format']}, {origin['channel_order']})")
