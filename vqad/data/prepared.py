"""Files of prepared data sets: copied from buckets; that may be damaged, or made to do harm."""

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from etils import epath

from vqad.errors import VqadError, reason
from vqad.paths import check_reachable, copy_tree, is_remote, odd_files

logger = logging.getLogger(__name__)

_FEATURES = "tensorflow_datasets.core.features."


@contextlib.contextmanager
def reading_prepared(name: str, data_dir: str | os.PathLike | None) -> Iterator[None]:
    """Turns whatever TFDS raises of the files of `<name>[/<config>]` into a VqadError."""
    try:
        yield
    except VqadError:
        raise
    except Exception as error:  # TFDS and its libraries raise anything
        raise VqadError(
            f"tfds:{name}: its files are damaged or incomplete ({reason(error)}); delete "
            f"{_folder(name, data_dir)} and prepare it again"
        ) from error


def check_files(name: str, data_dir: str | os.PathLike | None) -> None:
    """Refuses, with a VqadError, what is not read safely: pipes, and features of other makers.

    On a pipe TFDS waits for ever, and of a feature it imports whatever module is named.
    """
    root = _folder(name, data_dir)
    for path in odd_files(root):
        raise VqadError(f"{path}: a pipe or a device, not a file; delete it and prepare it again")

    def check(found: dict) -> dict:
        for key, value in found.items():
            # The second key is of old versions; a feature may be called so, too.
            names = key == "pythonClassName" or (key == "type" and isinstance(value, str))
            if names and not str(value).startswith(_FEATURES):
                what = f"names a feature {str(value)[:100]!r} not of TFDS, and would run its code"
                raise VqadError(f"{path}: {what}; prepare the data set with TFDS's features")
        return found

    for place in ("*/features.json", "*/*/features.json"):  # [<config>/]<version>/
        for path in root.glob(place):
            json.loads(path.read_text(), object_hook=check)


def _folder(name: str, data_dir: str | os.PathLike | None) -> epath.Path:
    folder = epath.Path(data_dir or tfds.core.constants.DATA_DIR)
    return folder.expanduser() / re.split("[/:]", name)[0]


def bucket_of(data_dir: str | os.PathLike | None) -> str:
    """Where TFDS keeps its data, as given or by default, if that is in a bucket; else ""."""
    given = os.fspath(data_dir) if data_dir else os.environ.get("TFDS_DATA_DIR", "")
    return given if is_remote(given) else ""


def fetched(data_dir: str | os.PathLike | None, name: str) -> str | os.PathLike | None:
    """The folder that TFDS reads `<name>[/<config>]` from.

    That is `data_dir` itself or, of a bucket, a folder below `~/.cache/vqad` (XDG_CACHE_HOME), to
    which what is new is copied first. Raises a VqadError if there is no such bucket.
    """
    if not (remote := bucket_of(data_dir)):
        return data_dir
    here = _copy_of(remote)
    check_reachable(remote)
    if (origin := epath.Path(remote) / name).is_dir():
        logger.info("copying what is new of %s to %s", origin, here / name)
        copy_tree(origin, here / name)
    return str(here)


def send(data_dir: str, name: str) -> None:
    """Copies a data set that was prepared in the folder of ``fetched`` to where it belongs."""
    here, origin = _copy_of(data_dir) / name, epath.Path(data_dir) / name
    logger.info("copying %s to %s", here, origin)
    copy_tree(here, origin)


def _copy_of(data_dir: str) -> Path:
    path = data_dir.partition("://")[2]
    if path.startswith("/") or ".." in path.split("/"):
        raise VqadError(f"{data_dir}: leads out of its bucket; give gs://<bucket>/<folder>")
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vqad" / path
