"""Trains and evaluates: python launch/main.py --config=configs/demo.py --workdir=runs/demo.

The same as ``vqad train``, from a checkout; ``--help`` tells more.
"""

from vqad.commands.train import launch

if __name__ == "__main__":
    launch()
