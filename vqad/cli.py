"""The command `vqad`: what is done with data and models, a subcommand each."""

import argparse
import inspect
import io
import logging
import os
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from vqad import __version__
from vqad.commands import (
    benchmark,
    calibrate,
    demo,
    doctor,
    evaluate,
    export,
    import_weights,
    plan,
    predict,
    prepare,
    report,
    train,
)
from vqad.commands.messages import hush_threads, shown
from vqad.errors import VqadError, machine_fault, printable

# A module's docstring is its help, `arguments` adds its arguments to a parser, and `run` takes what
# was parsed, returns an exit code (None is 0) and raises a VqadError for bad input. One with an
# argument `--config` also takes `--config.<field>`, as `args.fields`. What else a module imports,
# it imports when it runs, so that `vqad --help` is quick.
GROUPS = {
    "data": (doctor, prepare),
    "train": (train, plan),
    "evaluate": (evaluate, calibrate, report, benchmark),
    "use": (predict, demo),
    "share": (export, import_weights),
}
COMMANDS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2].replace("_", "-"): module
    for modules in GROUPS.values()
    for module in modules
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raises a VqadError, with the usage above it unless one value is bad."""
        if not message.startswith("argument -"):
            self.print_usage(sys.stderr)
        message = re.sub(r"^argument (--[\w-]+): (\S+: )", r"\1=\2", message)
        raise VqadError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line, by default the process's, without the program's name.

    Returns the exit code: that of the subcommand, 2 after bad input, which is told in one line on
    standard error, or 130 after Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may hold anything
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        args = parse(list(map(_expanded, sys.argv[1:] if argv is None else argv)))
        # Of what takes hours, lines tell the time.
        told = "%(asctime)s %(message)s" if hasattr(args, "verbose") else "%(message)s"
        level = logging.DEBUG if getattr(args, "verbose", False) else logging.INFO
        hush_threads(verbose=level == logging.DEBUG)  # until the process ends, as they do
        with shown(None, told, level):
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
    except Exception as error:
        if (fault := machine_fault(error)) is None:
            raise
        print(f"error: {printable(str(fault))}", file=sys.stderr)
        return 2


def _expanded(arg: str) -> str:
    """An argument with the home folder for ``~``, which shells leave where a flag stands before."""
    flag, value = re.fullmatch(r"(--?[\w.-]+=)?(.*)", arg, re.DOTALL).groups("")
    return flag + os.path.expanduser(value)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """What a command line says: its ``command``, and the arguments of that."""
    parser = _Parser(
        prog="vqad",
        usage="vqad COMMAND ...",
        description=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="vqad COMMAND --help tells the rest. Flags may be written with _ for -.",
    )
    parser.add_argument("--version", action="version", version=f"vqad {__version__}")
    subparsers = parser.add_subparsers(
        prog="vqad", dest="command", metavar="COMMAND", required=True, help=argparse.SUPPRESS
    )
    for name, module in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            description=inspect.getdoc(module),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(subparser)
    own, fields = split_fields(argv)
    args, rest = parser.parse_known_args(own)
    if hasattr(args, "config"):
        args.fields = fields
    else:
        rest = fields + rest
    if rest:
        subparsers.choices[args.command].error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def _overview() -> str:
    lines = ["Finds defects on surfaces with DSR, which learns from pictures of good parts."]
    for group, modules in GROUPS.items():
        lines += ["", f"{group}:"]
        names = (name for name, module in COMMANDS.items() if module in modules)
        lines += [f"  {name:<16}{inspect.getdoc(COMMANDS[name]).splitlines()[0]}" for name in names]
    return "\n".join(lines)


def split_fields(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parts a command line: flags, with hyphens for underscores, and ``--config.<field>=<value>``.

    The value may also be the next argument.
    """
    own, fields, value_next = [], [], False
    for arg in argv:
        field = re.match(r"--?(no)?config\.", arg)
        if field or (value_next and arg[:1] != "-"):
            fields.append(arg)
        else:
            own.append(re.sub(r"^--[\w-]+", lambda flag: flag[0].replace("_", "-"), arg))
        value_next = bool(field) and not field[1] and "=" not in arg
    return own, fields
