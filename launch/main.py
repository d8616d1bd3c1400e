"""Trains and judges: python launch/main.py --config=configs/demo.py --workdir=runs/demo.

Any field of the configuration can be given: --config.stage2.steps=1000 --config.surface=/data.
The same command continues a run that was interrupted. --mode=evaluate only judges.
"""

import logging
import sys

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from vqad.errors import VqadError

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and results.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "What to do.")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    if len(argv) > 1:
        raise VqadError(f"{' '.join(argv[1:])}: not a flag; settings look like --config.seed=1")
    # The libraries below speak through absl, at length; vqad through the standard logger.
    absl_logging.set_verbosity(absl_logging.ERROR)
    logger = logging.getLogger("vqad")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    from vqad.training.run import run

    run(_CONFIG.value, _WORKDIR.value, _MODE.value)


def _parse(argv: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError) as error:
        raise VqadError(" ".join(str(error).split())) from error


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=_parse)
    except VqadError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
