"""Trains and judges: python launch/main.py --config=configs/demo.py --workdir=runs/demo.

Any field of the configuration can be given: --config.stage2.steps=1000 --config.surface=/data.
The same command continues a run that was interrupted. --mode=evaluate only judges.
Exit codes: 0 done, 2 bad input, 75 stopped by SIGTERM or SIGINT (what was trained is saved).
"""

import logging
import os
import sys

from absl import app, flags
from absl import logging as absl_logging

from vqad.commands.flags import define_config, parse
from vqad.errors import VqadError, printable

_CONFIG = define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and results.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Run with other processes, as the cluster says or as --coordinator does."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "Address and port of the first process, where no cluster tells it."
)
_PROCESSES = flags.DEFINE_integer("processes", 0, "How many processes, with --coordinator.")
_PROCESS = flags.DEFINE_integer("process", -1, "Which of them this is, with --coordinator.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "What to do.")


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
    from vqad.run import run
    from vqad.training.interruption import EXIT_CODE, Interrupted, Interruption
    from vqad.training.processes import join

    if (_PROCESSES.value or _PROCESS.value >= 0) and not _COORDINATOR.value:
        raise VqadError("--coordinator: missing, but --processes and --process go with it")
    if _DISTRIBUTED.value or _COORDINATOR.value:
        join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    interruption = Interruption()
    try:
        with interruption.heeded():
            run(_CONFIG.value, _WORKDIR.value, _MODE.value, interruption)
    except Interrupted as reason:
        print(f"stopped: {reason}; the same command goes on", file=sys.stderr)
        if reason.alone:
            _leave_others(EXIT_CODE)
        sys.exit(EXIT_CODE)
    except VqadError as error:
        _tell(error)
        _leave_others(2)
        sys.exit(2)
    except Exception:
        logger.exception("unexpected error")
        _leave_others(1)
        sys.exit(1)


def _tell(error: VqadError) -> None:
    print(f"error: {printable(str(error))}", file=sys.stderr)


def _leave_others(code: int) -> None:
    """Ends this process, if there are others, without JAX's wait for them.

    They wait for this one in the middle of something, and end with a message when it is gone.
    """
    import jax

    if jax.process_count() > 1:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _parse(argv: list[str]) -> list[str]:
    app.define_help_flags()
    return parse(flags.FLAGS, argv, [_CONFIG, _WORKDIR])


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=_parse)
    except VqadError as error:  # of the flags
        _tell(error)
        sys.exit(2)
    except KeyboardInterrupt:  # before the run listened to signals
        print("stopped before the run began", file=sys.stderr)
        sys.exit(75)
