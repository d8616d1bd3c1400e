"""Configurations from the command line: --config=<file> and --config.<field>=<value>."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from vqad.errors import VqadError


def define_config(
    values: flags.FlagValues = flags.FLAGS, argv: list[str] | None = None
) -> flags.FlagHolder[ConfigDict]:
    """Defines ``--config``.

    Args:
      values: where it is defined.
      argv: the command line, if it is not the process's.
    """
    if argv is not None:
        argv[:] = [_by_name(arg) for arg in argv]
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "Configuration file.",
        flag_values=values,
        lock_config=True,
        sys_argv=argv,
    )


def config_file(name: str) -> str:
    """The path of a configuration: a file, or the name of one that the package holds.

    Args:
      name: as ``runs/mine.py``, ``small`` or ``pretrain:small``; what follows a colon is kept.
    """
    name, colon, argument = name.partition(":")
    stem = Path(name).stem
    package = Path(__file__).parent.parent
    # Installed, configurations lie in the package; in a checkout, beside it.
    for folder in (package / "configs", package.parent / "configs"):
        found = folder / f"{stem}.py"
        if not os.path.exists(name) and name in (stem, f"{stem}.py") and found.is_file():
            return f"{found}{colon}{argument}"
    return f"{name}{colon}{argument}"


def _by_name(arg: str) -> str:
    name = arg.removeprefix("--config=")
    return arg if name == arg or not name else f"--config={config_file(name)}"


def load_config(argv: Sequence[str]) -> ConfigDict:
    """The configuration that a command line names.

    Args:
      argv: ``--config=<file>`` and ``--config.<field>=<value>``, nothing else.

    Raises:
      VqadError: something is wrong with it, told in one line.
    """
    values = flags.FlagValues()
    argv = ["vqad", *argv]
    config = define_config(values, argv)
    rest = parse(values, argv, [config])
    if rest[1:]:
        raise VqadError(f"{rest[1]}: not a flag; settings look like --config.seed=1")
    return config.value


def parse(
    values: flags.FlagValues, argv: list[str], required: Iterable[flags.FlagHolder]
) -> list[str]:
    """Parses flags, ``--config`` among them; whatever is wrong becomes one line.

    Args:
      values: the flags.
      argv: the command line, the program's name first.
      required: flags that must be given.

    Returns:
      The program's name and what is no flag.

    Raises:
      VqadError: see above.
    """
    try:
        rest = values(argv)
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
            raise VqadError(_unreadable(argv)) from error
        raise VqadError(f"--config: the file fails with {error!r}") from error
    except (ImportError, NameError) as error:
        raise VqadError(f"--config: the file fails with {error!r}") from error
    except Exception as error:  # a configuration is Python, and may raise anything
        told = str(error) or type(error).__name__
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        message = lines[-1] if "Traceback" in str(error) else " ".join(lines)
        raise VqadError(re.sub(r"^[\w.]*Error: ", "", message)) from error
    for flag in required:
        if not values[flag.name].present or values[flag.name].value == "":
            raise VqadError(f"--{flag.name}: missing; see --help")
    try:
        values["config"].value.lock()  # a file that could not be read is only told now
    except OSError as error:
        raise VqadError(_unreadable(argv)) from error
    return rest


def _unreadable(argv: list[str]) -> str:
    given = [arg for arg in argv if arg.startswith("--config=")]
    names = "demo, small, pretrain:small, stage1, stage2, stage3"
    return f"{' '.join(given)}: no such file; give a file, or one of {names}"
