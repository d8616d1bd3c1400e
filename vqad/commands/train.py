"""Train on a surface or as a configuration says, then evaluate.

DIR holds good parts of one surface in train/good; train learns stage 1 from any PICTURES. The
configuration is then small, and the results go to runs/<name of DIR>. The same command continues
a run that was interrupted.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from ml_collections import ConfigDict

from vqad.commands.arguments import Parser, add, add_follow_links, add_value_range
from vqad.commands.flags import add_config, load_config
from vqad.errors import EXIT_CODE, VqadError, machine_fault, printable

logger = logging.getLogger(__name__)

FOLDER_CONFIG = "small"
"""The configuration that a folder of good parts is trained with."""


def default_workdir(folder: str) -> str:
    """Where a folder of good parts is trained, if nobody says where."""
    return f"runs/{Path(folder.rstrip('/')).name or 'surface'}"


def arguments(parser: Parser) -> None:
    fields = "[--config.FIELD=VALUE ...]"
    parser.usage = (
        f"vqad train DIR --pictures PICTURES [--workdir RUN] {fields}\n"
        f"       vqad train --config NAME --workdir RUN {fields}"
    )
    add(parser, "DIR", "the surface, in place of --config", dest="surface", nargs="?")
    add(parser, "--pictures DIR", "with DIR: a folder of any pictures, for stage 1")
    add_run(parser)
    add(parser, "--mode", "what to do", "train", choices=("train", "evaluate"))


def add_run(parser: Parser) -> None:
    """Adds what runs take that train or evaluate."""
    add_config(parser)
    parser.epilog += (
        "\nExit codes: 0 done, 2 bad input, 75 stopped by SIGTERM or Ctrl-C (what was trained is "
        "saved)."
    )
    add(parser, "--workdir RUN", "the run's folder, or gs://")
    add_follow_links(parser)
    add_value_range(parser)
    add(parser, "--verbose", "tell of parameters, options and libraries too")
    several = parser.add_argument_group("several processes")
    add(several, "--distributed", "the cluster tells who takes part")
    add(several, "--coordinator HOST:PORT", "the first process's address")
    add(several, "--processes N", "how many there are", type=int)
    add(several, "--process I", "which one this is", type=int)
    parser.set_defaults(coordinator="", processes=0, process=-1)


def run(args: argparse.Namespace) -> int:
    """Trains and evaluates, or only evaluates."""
    try:
        return _run(args, configuration(args))
    except KeyboardInterrupt:  # before the run listened to signals
        print("stopped before the run began", file=sys.stderr)
        return EXIT_CODE


def configuration(args: argparse.Namespace) -> ConfigDict:
    """The configuration asked for; where a folder is, ``args.workdir`` gets its default."""
    given, fields, folder, pictures = args.config, args.fields, args.surface, args.pictures
    fields = [*fields, "--config.follow_links=True"] if args.follow_links else fields
    if folder and given:
        raise VqadError(f"{folder}: not a flag; with --config give --config.surface={folder}")
    if pictures and not folder:
        raise VqadError(f"--pictures={pictures}: goes with DIR; give --config.pictures={pictures}")
    if folder:
        given = FOLDER_CONFIG
        more = [f"--config.pictures={pictures}"] if pictures else []
        fields = [f"--config.surface={folder}", *more, *fields]
        args.workdir = default_workdir(folder) if args.workdir is None else args.workdir
    if args.value_range:
        fields = [*fields, f"--config.value_range={args.value_range}"]
    config = load_config([f"--config={given or ''}", *fields])
    if not args.workdir:
        raise VqadError("--workdir: missing; see vqad train --help")
    return config


def _run(args: argparse.Namespace, config: ConfigDict) -> int:
    from vqad.processes import join
    from vqad.run import run
    from vqad.training.interruption import Interrupted, Interruption

    if (args.processes or args.process >= 0) and not args.coordinator:
        raise VqadError("--coordinator: missing, but --processes and --process go with it")
    if args.distributed or args.coordinator:
        join(args.coordinator, args.processes, args.process)
    logger.info("results go to %s", args.workdir)
    interruption = Interruption()
    try:
        with interruption.heeded():
            run(config, args.workdir, args.mode, interruption)
        return 0
    except Interrupted as reason:
        print(f"stopped: {reason}; the same command goes on", file=sys.stderr)
        code, alone = EXIT_CODE, reason.alone
    except VqadError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        code, alone = 2, True
    except Exception as error:
        if fault := machine_fault(error):
            print(f"error: {printable(str(fault))}", file=sys.stderr)
            code, alone = 2, True
        else:
            logger.exception("unexpected error")
            code, alone = 1, True
    if alone:
        _leave_others(code)
    return code


def _leave_others(code: int) -> None:
    """Ends this process, if there are others, without JAX's wait for them: they wait for it."""
    import jax

    try:
        alone = jax.process_count() == 1
    except Exception:  # it has no device, and so joined nobody
        alone = True
    if not alone:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
