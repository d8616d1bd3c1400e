"""Configurations: --config=<file> and --config.<field>=<value>, and the same from Python."""

import copy
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from vqad.commands.arguments import Parser, add
from vqad.errors import VqadError, reason

NAMES = "demo, small, pretrain:small, stage1, stage2, stage3"


def add_config(parser: Parser) -> None:
    """Adds ``--config``; its fields are no arguments of the parser's, but given to it."""
    text = "the configuration; any of its fields can be given, as --config.stage2.steps=1000"
    add(parser, "--config NAME", text)
    parser.epilog = f"NAME is a file, or one of {NAMES}."


def config_file(name: str) -> str:
    """The path of a configuration: a file, or a name of the package's, as ``pretrain:small``."""
    name, colon, argument = name.partition(":")
    stem = Path(name).stem
    package = Path(__file__).parent.parent
    # Installed, configurations lie in the package; in a checkout, beside it.
    for folder in (package / "configs", package.parent / "configs"):
        found = folder / f"{stem}.py"
        if not os.path.exists(name) and name in (stem, f"{stem}.py") and found.is_file():
            return f"{found}{colon}{argument}"
    return f"{name}{colon}{argument}"


def load_config(argv: Sequence[str]) -> ConfigDict:
    """The configuration that a command line names, locked.

    Args:
      argv: ``--config=<name or file>`` and ``--config.<field>=<value>``, nothing else.

    Raises:
      VqadError: something is wrong with it, told in one line.
    """
    given = next((arg for arg in argv if arg.startswith("--config=")), "--config=")
    name = given.removeprefix("--config=")
    if not name:
        raise VqadError(f"--config: missing; give a file, or one of {NAMES}")
    argv = [f"--config={config_file(name)}" if arg == given else arg for arg in argv]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", flag_values=values, lock_config=True, sys_argv=["vqad", *argv]
    )
    try:
        rest = values(["vqad", *argv])[1:]
        config: Any = values["config"].value
        config.lock()  # a file that could not be read is only told now
    except Exception as error:  # a configuration is Python, and may raise anything
        raise VqadError(_told(error, argv, given)) from error
    if rest:
        raise VqadError(f"{' '.join(rest)}: not a flag; settings look like --config.seed=1")
    return config


def _told(error: Exception, argv: Sequence[str], given: str) -> str:
    """What is wrong with flags, in one line."""
    if isinstance(error, OSError) and "config file" in str(error):
        return f"{given}: no such file; give a file, or one of {NAMES}"
    if isinstance(error, AttributeError | KeyError):  # an override of a field that is not there
        field = (re.findall(r"\w+", str(error)) or ["?"])[0]
        flag = next((arg for arg in argv if arg.startswith("--config.") and field in arg), None)
        if flag:
            return f"{flag}: {_no_such_field(error)}"
    if isinstance(error, AttributeError | KeyError | OSError | ImportError | NameError):
        return f"--config: the file fails with {error!r}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = lines[-1] if "Traceback" in str(error) else " ".join(lines)
    return re.sub(r"^[\w.]*Error: ", "", message) or type(error).__name__


def _no_such_field(error: Exception) -> str:
    """What a ConfigDict's error about a field that it does not have says."""
    similar = re.search(r'Did you mean \\*"(\w+)', str(error))
    hint = f"; did you mean {similar[1]}?" if similar else ""
    return f"the configuration has no such field{hint}"


def with_overrides(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """A locked copy of a configuration with other values; fields that follow these follow them.

    A field of a section has a dot in its name, or the section is a mapping:
    ``{"stage2.steps": 100}`` or ``{"stage2": {"steps": 100}}``. Raises a VqadError for a field that
    is not there, and for a value of another kind.
    """
    from flax.traverse_util import flatten_dict  # imports JAX

    config = copy.deepcopy(config).lock()
    for name, value in flatten_dict(dict(overrides), sep=".").items():
        try:
            plain = os.fspath(value) if isinstance(value, os.PathLike) else value
            config.update_from_flattened_dict({name: plain})
        except KeyError as error:
            raise VqadError(f"config.{name}: {_no_such_field(error)}") from error
        except (TypeError, ValueError) as error:
            raise VqadError(f"config.{name}: {value!r} cannot be set; {reason(error)}") from error
    return config
