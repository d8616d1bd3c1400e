"""Examine images and masks; tell what training does with them.

Exits with 1 if training would not start.
"""

import argparse
from typing import TYPE_CHECKING

from vqad.commands.arguments import (
    Parser,
    add,
    add_follow_links,
    add_prepared,
    add_value_range,
)
from vqad.errors import VqadError

if TYPE_CHECKING:
    from vqad.data.findings import Finding


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
    add_follow_links(parser)
    add(
        parser,
        "--fix OUT",
        "write a copy in a layout that training reads, without what is broken, to a new folder "
        "(hard links where the disk allows), and examine that",
    )
    add_value_range(parser)
    add_prepared(parser)


def run(args: argparse.Namespace) -> int:
    """Prints what was found; returns 1 if training would not start, else 0."""
    from vqad.data.doctor import examine, to_json, to_table  # imports numpy and Pillow

    names = ("data_dir", "allow_partial", "follow_links", "value_range")
    how = {name: getattr(args, name) for name in names}
    source = args.source
    if args.fix:
        source, left = args.fix, _fix(args)
        how["follow_links"] = False
    report = examine(source, quick=args.quick, pictures=args.pictures, **how)
    if args.fix:
        report = report._replace(findings=[*left, *report.findings])
    verdict = "training starts" if report.sound else "training does not start"
    if args.fix and not args.json:
        verdict += "; its files may be hard links, so that editing one edits the original too"
    print(to_json(report) if args.json else f"{to_table(report)}\n{source}: {verdict}")
    return 0 if report.sound else 1


def _fix(args: argparse.Namespace) -> "list[Finding]":
    """Writes the copy; returns what was left out of it."""
    from vqad.data.fix import write_copy

    if args.pictures or args.source.startswith("tfds:"):
        raise VqadError("--fix: is of folders of a surface")
    return write_copy(args.source, args.fix, args.follow_links, args.value_range)
