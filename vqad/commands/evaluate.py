"""Evaluate a trained run again.

The flags are those of vqad train; the configuration says what is judged, and on what.
"""

from vqad.commands import train
from vqad.commands.arguments import Parser

run = train.run


def arguments(parser: Parser) -> None:
    train.arguments(parser, mode="evaluate")
