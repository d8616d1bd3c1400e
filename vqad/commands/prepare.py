"""The subcommand `vqad prepare`; what it needs is imported when it runs."""

import argparse


def prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the subcommand."""
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
    parser.add_argument("--data_dir", help="where TFDS keeps its data; TFDS_DATA_DIR by default")
    parser.add_argument(
        "--allow_partial", action="store_true", help="accept less or more than was published"
    )


def run_prepare(args: argparse.Namespace) -> None:
    """Runs the subcommand and prints what can be read now.

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
