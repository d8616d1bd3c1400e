"""Examine images and masks and tell what training will do with them.

Exits with 1 if training would not start.
"""

import argparse

from vqad.commands.arguments import prepared_arguments


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "source", metavar="DIR", help="a folder, or tfds:<name>[/<config>] for a prepared data set"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with every finding")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="look no closer than training does first: of over 5000 pictures only at the headers, "
        "of so many in a prepared set at nothing",
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="examine what stage 1 reads, any tree of pictures, not a surface",
    )
    prepared_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints what was found; returns 1 if training would not start, else 0."""
    from vqad.data.doctor import examine, to_json, to_table  # imports numpy and Pillow

    report = examine(
        args.source, args.data_dir, args.quick, args.allow_partial, pictures=args.pictures
    )
    if args.json:
        print(to_json(report))
    else:
        verdict = "training starts" if report.sound else "training does not start"
        print(f"{to_table(report)}\n{args.source}: {verdict}")
    return 0 if report.sound else 1
