"""Trains and evaluates: python launch/main.py --config=configs/demo.py --workdir=runs/demo.

The same as ``vqad train``, from a checkout; ``--help`` tells more.
"""

import sys

from vqad.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
