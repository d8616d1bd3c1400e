"""Files of prepared data sets that may be damaged, or made to do harm."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from vqad.data.tree import odd_files
from vqad.errors import VqadError

_FEATURES = "tensorflow_datasets.core.features."


@contextlib.contextmanager
def reading_prepared(name: str, data_dir: str | os.PathLike | None) -> Iterator[None]:
    """Turns whatever TFDS raises of the files of a prepared data set into one line.

    Args:
      name: of the data set, `<name>[/<config>]`.
      data_dir: where TFDS keeps its data; its own default if None.

    Raises:
      VqadError: they are damaged or incomplete.
    """
    try:
        yield
    except VqadError:
        raise
    except Exception as error:  # TFDS and its libraries raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise VqadError(
            f"tfds:{name}: its files are damaged or incomplete ({reason}); delete "
            f"{_folder(name, data_dir)} and prepare it again"
        ) from error


def check_files(name: str, data_dir: str | os.PathLike | None) -> None:
    """Refuses what is not read safely: pipes and devices, and features of other makers.

    On a pipe TFDS waits for ever, and of a feature it imports whatever module is named.

    Args:
      name: as in `reading_prepared`.
      data_dir: as in `reading_prepared`.

    Raises:
      VqadError: there is such a file, or a `features.json` that names such a class.
    """
    root = _folder(name, data_dir)
    for path in odd_files(root):
        raise VqadError(f"{path}: a pipe or a device, not a file; delete it and prepare it again")
    places = ("*/features.json", "*/*/features.json")  # [<config>/]<version>/
    for path in (path for place in places for path in root.glob(place)):
        for found in _class_names(json.loads(path.read_text())):
            if not str(found).startswith(_FEATURES):
                raise VqadError(
                    f"{path}: names a feature {str(found)[:100]!r} that is not TFDS's own, and "
                    "would run its code; prepare the data set with TFDS's features"
                )


def _folder(name: str, data_dir: str | os.PathLike | None) -> epath.Path:
    folder = epath.Path(data_dir or tfds.core.constants.DATA_DIR)
    return folder.expanduser() / re.split("[/:]", name)[0]


def _class_names(value: Any) -> Iterator[Any]:
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in items:
        # The second is of old versions; a feature may be called so, too.
        if key == "pythonClassName" or (key == "type" and isinstance(inner, str)):
            yield inner
    for inner in value if isinstance(value, list) else dict(items).values():
        yield from _class_names(inner)
