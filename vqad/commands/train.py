"""``vqad train`` and ``vqad evaluate``; ``python launch/main.py`` is the same."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from absl import logging as absl_logging

from vqad.commands.flags import define_config, parse
from vqad.errors import VqadError, printable

USAGE = """\
vqad train DIR --pictures=PICTURES [--workdir=RUN] [--config.FIELD=VALUE ...]
       vqad train --config=NAME-OR-FILE --workdir=RUN [--config.FIELD=VALUE ...]
       vqad evaluate --config=NAME-OR-FILE --workdir=RUN [--config.FIELD=VALUE ...]

DIR holds good parts of one surface in train/good, PICTURES any pictures for stage 1. They mean
--config=small --config.surface=DIR --config.pictures=PICTURES --workdir=runs/<name of DIR>.
NAME is a configuration of the package: demo, small, pretrain:small, stage1, stage2, stage3 (the
paper's). Any of its fields can be given: --config.stage2.steps=1000. The same command continues a
run that was interrupted.

Exit codes: 0 done, 2 bad input, 75 stopped by SIGTERM or SIGINT (what was trained is saved).
"""


def run_train(argv: Sequence[str], mode: str = "train") -> int:
    """Trains and evaluates, or only evaluates, as a command line says.

    Args:
      argv: the command line without the program's name; ``--mode`` may say otherwise than ``mode``.
      mode: ``train`` or ``evaluate``.

    Returns:
      The exit code.

    Raises:
      VqadError: a bad flag.
    """
    given = train_flags(argv, mode)
    _log(given.verbose)
    from vqad.processes import join
    from vqad.run import run
    from vqad.training.interruption import EXIT_CODE, Interrupted, Interruption

    if (given.processes or given.process >= 0) and not given.coordinator:
        raise VqadError("--coordinator: missing, but --processes and --process go with it")
    if given.distributed or given.coordinator:
        join(given.coordinator, given.processes, given.process)
    interruption = Interruption()
    try:
        with interruption.heeded():
            run(given.config, given.workdir, given.mode, interruption)
    except Interrupted as reason:
        print(f"stopped: {reason}; the same command goes on", file=sys.stderr)
        if reason.alone:
            _leave_others(EXIT_CODE)
        return EXIT_CODE
    except VqadError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        _leave_others(2)
        return 2
    except Exception:
        logging.getLogger("vqad").exception("unexpected error")
        _leave_others(1)
        return 1
    return 0


def train_flags(argv: Sequence[str], mode: str = "train") -> flags.FlagValues:
    """The flags of a command line; arguments and errors as of ``run_train``."""
    values = flags.FlagValues()
    argv = ["vqad", *_from_folder(list(argv))]
    config = define_config(values, argv)
    kind = {"flag_values": values}
    workdir = flags.DEFINE_string("workdir", None, "Folder of the run.", **kind)
    flags.DEFINE_bool("distributed", False, "Run with other processes.", **kind)
    flags.DEFINE_string("coordinator", "", "Address and port of the first process.", **kind)
    flags.DEFINE_integer("processes", 0, "How many, with --coordinator.", **kind)
    flags.DEFINE_integer("process", -1, "Which of them this is, with --coordinator.", **kind)
    flags.DEFINE_enum("mode", mode, ["train", "evaluate"], "What to do.", **kind)
    flags.DEFINE_bool("verbose", False, "Tell of parameters and libraries too.", **kind)
    rest = parse(values, argv, [config, workdir])
    if rest[1:]:
        raise VqadError(f"{' '.join(rest[1:])}: not a flag; settings look like --config.seed=1")
    return values


def usage_of_train(parser: argparse.ArgumentParser) -> None:
    """Says how to use both commands; their flags are read by ``train_flags``."""
    parser.usage = USAGE


def run_train_command(args: argparse.Namespace) -> int:
    """Runs ``vqad train``."""
    return run_train(args.config_flags)


def run_evaluate_command(args: argparse.Namespace) -> int:
    """Runs ``vqad evaluate``."""
    return run_train(args.config_flags, "evaluate")


def launch() -> None:
    """What ``launch/main.py`` does: ``run_train`` for a process of its own."""
    if any(flag in sys.argv[1:] for flag in ("--help", "-h")):
        print(f"usage: {USAGE}")
        sys.exit(0)
    try:
        sys.exit(run_train(sys.argv[1:]))
    except VqadError as error:  # of the flags
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # before the run listened to signals
        print("stopped before the run began", file=sys.stderr)
        sys.exit(75)


def _from_folder(argv: list[str]) -> list[str]:
    """A command line with a folder in it, as one without."""
    if not argv or argv[0].startswith("-"):
        return argv
    folder, *rest = argv
    if any(arg.startswith("--config=") for arg in rest):
        raise VqadError(f"{folder}: not a flag; with --config give --config.surface={folder}")
    pictures = [arg for arg in rest if arg.startswith("--pictures=")]
    rest = [arg for arg in rest if arg not in pictures]
    name = Path(folder.rstrip("/")).name or "surface"
    workdir = [] if any(arg.startswith("--workdir=") for arg in rest) else [f"runs/{name}"]
    return [
        "--config=small",
        f"--config.surface={folder}",
        *(f"--config.pictures={arg.removeprefix('--pictures=')}" for arg in pictures),
        *(f"--workdir={each}" for each in workdir),
        *rest,
    ]


def _log(verbose: bool) -> None:
    # The libraries below speak through absl, at length; vqad through the standard logger.
    absl_logging.set_verbosity(absl_logging.ERROR)
    logger = logging.getLogger("vqad")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


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
