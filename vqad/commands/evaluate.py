"""Evaluate a trained run again.

The flags are those of vqad train; the configuration says what is judged, and on what.
"""

import argparse

from vqad.commands import train

run = train.run


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    train.arguments(parser, mode="evaluate")
