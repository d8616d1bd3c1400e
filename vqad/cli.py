"""The command `vqad`: a subcommand for each thing done with a model beside training it."""

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vqad import __version__
from vqad.commands.benchmark import benchmark_arguments, run_benchmark
from vqad.commands.calibrate import calibrate_arguments, run_calibrate
from vqad.commands.demo import demo_arguments, run_demo
from vqad.commands.doctor import doctor_arguments, run_doctor
from vqad.commands.export import export_arguments, run_export
from vqad.commands.import_weights import import_weights_arguments, run_import_weights
from vqad.commands.plan import plan_arguments, run_plan
from vqad.commands.predict import predict_arguments, run_predict
from vqad.commands.prepare import prepare_arguments, run_prepare
from vqad.commands.report import report_arguments, run_report
from vqad.commands.train import run_evaluate_command, run_train_command, usage_of_train
from vqad.errors import VqadError, printable


@dataclass(frozen=True)
class Command:
    """A subcommand: what it does in a line, its arguments, and the function that runs it.

    That function may return an exit code; None is 0. With ``takes_config`` it finds
    arguments that are not its own, as ``--config=<file>``, in ``config_flags``.
    """

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    takes_config: bool = False


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    """Shows what the library logs, and of other libraries only errors."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    logger = logging.getLogger("vqad")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


COMMANDS = {
    "train": Command(
        "train on a surface, or what a configuration says, then evaluate",
        usage_of_train,
        run_train_command,
        takes_config=True,
    ),
    "evaluate": Command(
        "evaluate a trained run again",
        usage_of_train,
        run_evaluate_command,
        takes_config=True,
    ),
    "prepare": Command(
        "prepare a public data set for training, from its archive or folder",
        prepare_arguments,
        run_prepare,
    ),
    "doctor": Command(
        "examine images and masks and tell what training will do with them",
        doctor_arguments,
        run_doctor,
    ),
    "calibrate": Command(
        "set the thresholds of a model by pictures of good parts that it was not trained on",
        calibrate_arguments,
        run_calibrate,
    ),
    "predict": Command(
        "look for defects in pictures: scores, verdicts, masks and overlays",
        predict_arguments,
        run_predict,
    ),
    "demo": Command(
        "open a page to drop an image on: score, verdict, mask, I_gen and I_spc",
        demo_arguments,
        run_demo,
    ),
    "report": Command(
        "write what a run's judgement found as one HTML page, with all test images",
        report_arguments,
        run_report,
    ),
    "export": Command(
        "write a model as one file for other programs, and compare it with the model",
        export_arguments,
        run_export,
    ),
    "benchmark": Command(
        "time a model on this machine's CPU with JAX, ONNX Runtime and OpenVINO",
        benchmark_arguments,
        run_benchmark,
    ),
    "import-weights": Command(
        "turn a PyTorch checkpoint of DSR into a vqad checkpoint",
        import_weights_arguments,
        run_import_weights,
    ),
    "plan": Command(
        "predict a training step on TPUs, from the program compiled for them, without a TPU",
        plan_arguments,
        run_plan,
        takes_config=True,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit code: that of the subcommand, 2 after bad input, which is told in one line on
        standard error, or 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="vqad",
        description="Surface defect detection with DSR.",
    )
    parser.add_argument("--version", action="version", version=f"vqad {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, description=command.help)
        command.arguments(subparser)
    args, rest = parser.parse_known_args(argv)
    if COMMANDS[args.command].takes_config:
        args.config_flags = rest
    elif rest:
        subparsers.choices[args.command].error(f"unrecognized arguments: {' '.join(rest)}")
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may hold anything
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _logging():
            code = COMMANDS[args.command].run(args) or 0
        sys.stdout.flush()
        return code
    except VqadError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was written whole is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # what reads the output, as head, wants no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
