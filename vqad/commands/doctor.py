"""Examine images and masks; tell what training does with them.

Exits with 1 if training would not start.
"""

import argparse

from vqad.commands.arguments import Parser, add, add_prepared


def arguments(parser: Parser) -> None:
    text = "a folder, or tfds:<name>[/<config>] for a prepared data set"
    add(parser, "DIR", text, dest="source")
    add(parser, "--json", "print JSON, with every finding")
    add(
        parser,
        "--quick",
        "look no closer than training does first: of over 5000 pictures only at the headers, of "
        "so many in a prepared set at nothing",
    )
    add(parser, "--pictures", "examine what stage 1 reads, any tree of pictures, not a surface")
    add_prepared(parser)


def run(args: argparse.Namespace) -> int:
    """Prints what was found; returns 1 if training would not start, else 0."""
    from vqad.data.doctor import examine, to_json, to_table  # imports numpy and Pillow

    how = {"data_dir": args.data_dir, "allow_partial": args.allow_partial}
    report = examine(args.source, quick=args.quick, pictures=args.pictures, **how)
    verdict = "training starts" if report.sound else "training does not start"
    print(to_json(report) if args.json else f"{to_table(report)}\n{args.source}: {verdict}")
    return 0 if report.sound else 1
