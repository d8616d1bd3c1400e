"""Trains and judges: python launch/main.py --config=configs/demo.py --workdir=runs/demo.

Any field of the configuration can be given: --config.stage2.steps=1000 --config.surface=/data.
The same command continues a run that was interrupted. --mode=evaluate only judges.
Exit codes: 0 done, 2 bad input, 75 stopped by SIGTERM or SIGINT (what was trained is saved).
"""

import logging
import re
import sys

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from vqad.errors import VqadError, printable

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.", lock_config=True)
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
    from vqad.training.interruption import EXIT_CODE, Interrupted, Interruption
    from vqad.training.processes import join
    from vqad.training.run import run

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
        sys.exit(EXIT_CODE)


def _unreadable() -> str:
    given = [arg for arg in sys.argv if arg.startswith("--config=")]
    return f"{' '.join(given)}: no such file; give one of configs/*.py"


def _parse(argv: list[str]) -> list[str]:
    """Parses flags; whatever is wrong with them becomes one line."""
    app.define_help_flags()
    try:
        rest = flags.FLAGS(argv)
    except (AttributeError, KeyError) as error:  # an override of a field that is not there
        field = (re.findall(r"\w+", str(error)) or ["?"])[0]
        flag = next((arg for arg in argv if arg.startswith("--config.") and field in arg), None)
        if flag is None:
            raise VqadError(f"--config: the file fails with {error!r}") from error
        similar = re.search(r'Did you mean \\*"(\w+)', str(error))
        hint = f"; did you mean {similar[1]}?" if similar else ""
        raise VqadError(f"{flag}: the configuration has no such field{hint}") from error
    except OSError as error:
        if "config file" in str(error):
            raise VqadError(_unreadable()) from error
        raise VqadError(f"--config: the file fails with {error!r}") from error
    except (ImportError, NameError) as error:
        raise VqadError(f"--config: the file fails with {error!r}") from error
    except Exception as error:  # a configuration is Python, and may raise anything
        told = str(error) or type(error).__name__
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        message = lines[-1] if "Traceback" in str(error) else " ".join(lines)
        raise VqadError(re.sub(r"^[\w.]*Error: ", "", message)) from error
    for flag in (_CONFIG, _WORKDIR):
        if not flags.FLAGS[flag.name].present or flags.FLAGS[flag.name].value == "":
            raise VqadError(f"--{flag.name}: missing; see --help")
    try:
        _CONFIG.value.lock()  # a file that could not be read is only told now
    except OSError as error:
        raise VqadError(_unreadable()) from error
    return rest


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=_parse)
    except VqadError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
