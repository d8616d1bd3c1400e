"""Prepare a public data set for training, from its archive or folder."""

import argparse

from vqad.commands.arguments import prepared_arguments


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "name",
        metavar="NAME[/CONFIG]",
        help="ksdd2[/supervised_N], mvtec_ad/<category>, visa/<object>, kolektor_sdd, "
        "magnetic_tile or natural_images",
    )
    parser.add_argument(
        "src",
        metavar="SRC",
        help="the archive, or the folder it was extracted to; `download` to download ksdd2",
    )
    prepared_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Prepares it and prints what can be read now.

    Raises:
      VqadError: As `vqad.data.builders.prepare`.
    """
    from vqad.data.builders import prepare  # imports TFDS, slow

    name, _, config = args.name.removeprefix("tfds:").partition("/")
    raw = None if args.src == "download" else args.src
    builder = prepare(name, config or None, raw, args.data_dir, args.allow_partial)
    counts = ", ".join(f"{split.num_examples} {key}" for key, split in builder.info.splits.items())
    config = f"/{builder.builder_config.name}" if builder.builder_config else ""
    print(f"tfds:{name}{config} in {builder.data_path}: {counts}")
