"""Fields of a configuration set from Python, as ``--config.<field>=<value>`` sets them."""

import copy
import difflib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from vqad.errors import VqadError


def with_overrides(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """A copy of a configuration with other values; fields that follow one of these follow it.

    Args:
      config: the configuration; stays as it is.
      overrides: values by field. A field of a section has a dot in its name, or the section is a
        mapping: ``{"stage2.steps": 100}`` or ``{"stage2": {"steps": 100}}``.

    Returns:
      The copy, locked: it takes no new fields.

    Raises:
      VqadError: a field that the configuration does not have, or a value of another kind.
    """
    config = copy.deepcopy(config).lock()
    for name, value in _leaves(overrides):
        *sections, field = name.split(".")
        holder: Any = config
        for section in sections:
            holder = holder[section] if _has(holder, section) else None
        if not _has(holder, field):
            similar = difflib.get_close_matches(name, _names(config), 1)
            hint = f"; did you mean {similar[0]}?" if similar else ""
            raise VqadError(f"config.{name}: the configuration has no such field{hint}")
        if isinstance(holder[field], ConfigDict):
            raise VqadError(f"config.{name}: {value!r}; a section, give its fields in a dict")
        try:
            holder[field] = os.fspath(value) if isinstance(value, os.PathLike) else value
        except (TypeError, ValueError) as error:
            raise VqadError(
                f"config.{name}: {value!r}; must be of the kind of {holder[field]!r}"
            ) from error
    return config


def _has(holder: Any, name: str) -> bool:
    return isinstance(holder, ConfigDict) and name in holder


def _leaves(overrides: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
    """Names with dots, and what is no mapping."""
    for name, value in overrides.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{section}{name}.")
        else:
            yield f"{section}{name}", value


def _names(config: ConfigDict, section: str = "") -> Iterator[str]:
    for name, value in config.items():
        yield f"{section}{name}"
        if isinstance(value, ConfigDict):
            yield from _names(value, f"{section}{name}.")
