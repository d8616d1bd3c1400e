"""Results on disk as JSON: written whole, read with care."""

import json
from pathlib import Path
from typing import Any

from etils import epath

from vqad.errors import explained, reason
from vqad.paths import is_remote, write_atomic


def write_result(path: epath.PathLike, content: bytes) -> None:
    """Writes a file whole, with its folder, over an older one; a VqadError if that fails."""
    fault, remedy = "cannot be written", "free disk space or permissions, or give another folder"
    with explained(path, fault, f"what was there is kept; {remedy}", OSError):
        write_atomic(path, content)


def read_json(path: epath.PathLike) -> Any:
    """What a JSON file holds; a ValueError if it is no file, cannot be read, or is no JSON."""
    try:
        if not is_remote(path) and not Path(path).is_file():  # a pipe would be waited for
            raise ValueError("not a file")
        return json.loads(epath.Path(path).read_bytes())
    except (OSError, RecursionError) as error:
        raise ValueError(reason(error)) from error


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number, within what floats hold."""
    return type(value) in (int, float) and abs(value) < 1e300
