"""Prepared data sets of a bucket, copied to this machine: their files are read from disks only."""

import logging
import os
from pathlib import Path

from etils import epath

from vqad.errors import VqadError
from vqad.paths import check_reachable, copy_tree, is_remote

logger = logging.getLogger(__name__)


def bucket_of(data_dir: str | os.PathLike | None) -> str:
    """Where TFDS keeps its data, as given or by default, if that is in a bucket; else ""."""
    given = os.fspath(data_dir) if data_dir else os.environ.get("TFDS_DATA_DIR", "")
    return given if is_remote(given) else ""


def fetched(data_dir: str | os.PathLike | None, name: str) -> str | os.PathLike | None:
    """Copies a prepared data set to this machine, or what is new of it, if it is in a bucket.

    Args:
      data_dir: where TFDS keeps its data; None for its default (TFDS_DATA_DIR).
      name: of the data set, or of a configuration of it, as `ksdd2/unsupervised`.

    Returns:
      The folder that TFDS reads it from: `data_dir` itself, or its copy below `~/.cache/vqad`
      (XDG_CACHE_HOME).

    Raises:
      VqadError: there is no such bucket, or its path leads out of it.
    """
    remote = bucket_of(data_dir)
    if not remote:
        return data_dir
    here = _copy_of(remote)
    check_reachable(remote)
    origin = epath.Path(remote) / name
    if origin.is_dir():
        logger.info("copying what is new of %s to %s", origin, here / name)
        copy_tree(origin, here / name)
    else:
        logger.info("%s: no such folder", origin)
    return str(here)


def send(data_dir: str | os.PathLike, name: str) -> None:
    """Copies a data set that was prepared in the folder of ``fetched`` to where it belongs."""
    origin = epath.Path(data_dir) / name
    logger.info("copying %s to %s", _copy_of(data_dir) / name, origin)
    copy_tree(_copy_of(data_dir) / name, origin)


def _copy_of(data_dir: str | os.PathLike) -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    path = os.fspath(data_dir).partition("://")[2]
    if path.startswith("/") or ".." in path.split("/"):
        raise VqadError(f"{data_dir}: leads out of its bucket; give gs://<bucket>/<folder>")
    return caches / "vqad" / path
