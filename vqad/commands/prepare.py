"""Prepare a public data set from its archive or folder.

Training reads it as --config.surface=tfds:<name>.
"""

import argparse

from vqad.commands.arguments import Parser, add, add_prepared


def arguments(parser: Parser) -> None:
    names = "mvtec_ad/<category>, visa/<object>, kolektor_sdd, magnetic_tile or natural_images"
    add(parser, "NAME[/CONFIG]", f"ksdd2[/supervised_N], {names}", dest="name")
    add(parser, "SRC", "the archive, or its folder; `download` to download ksdd2")
    add_prepared(parser)


def run(args: argparse.Namespace) -> None:
    """Prepares it and prints what can be read now."""
    from vqad.data.tfds_installed import check_tfds_installed

    check_tfds_installed("vqad prepare")
    from vqad.data.builders import prepare  # imports TFDS, slow

    name, _, config = args.name.removeprefix("tfds:").partition("/")
    raw = None if args.src == "download" else args.src
    builder = prepare(name, config or None, raw, args.data_dir, args.allow_partial)
    counts = ", ".join(f"{split.num_examples} {key}" for key, split in builder.info.splits.items())
    config = f"/{builder.builder_config.name}" if builder.builder_config else ""
    print(f"tfds:{name}{config} in {builder.data_path}: {counts}")
