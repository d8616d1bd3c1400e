"""Finds whole checkpoints, reads the newest that is sound, sets damaged ones aside."""

import itertools
import logging
import re
from collections.abc import Mapping

import orbax.checkpoint as ocp
from etils import epath

from vqad.checkpoints.verify import DamagedCheckpoint, load_description, load_item
from vqad.checkpoints.weights_file import is_weights_file, read_weights
from vqad.errors import VqadError
from vqad.paths import check_reachable
from vqad.stages import STAGES

logger = logging.getLogger(__name__)


def complete_steps(path: str) -> list[int]:
    """Steps of the checkpoints in a folder that were written to the end, ascending."""
    folder = epath.Path(path)
    if not folder.is_dir():
        return []
    # Orbax would take folders like name_1 for steps too, and fail on others.
    paths = [path for path in folder.iterdir() if re.fullmatch("0|[1-9][0-9]*", path.name)]
    return sorted(
        int(path.name)
        for path in paths
        if path.is_dir() and ocp.utils.is_checkpoint_finalized(path)
    )


def latest_step(path: str) -> int | None:
    """Newest whole checkpoint of a folder, or None."""
    return max(complete_steps(path), default=None)


def find_folder(path: str) -> str:
    """The checkpoint folder that a user means: the newest stage in a workdir, or the folder itself.

    A file that ``write_weights`` wrote stands for itself. Raises a VqadError if there is none.
    """
    check_reachable(path)
    if is_weights_file(path):
        return str(path)
    root = epath.Path(path)
    if not root.exists():
        raise VqadError(f"{path}: no such folder; give a workdir or a checkpoint folder")
    for folder in (*(root / name for name in reversed(STAGES)), root):
        if latest_step(folder) is not None:
            return str(folder)
    raise VqadError(f"{path}: holds no checkpoint; train first, or give another folder")


def load_weights(path: str) -> tuple[dict, dict]:
    """Loads variables and metadata of the newest checkpoint in a workdir or checkpoint folder.

    A damaged checkpoint is told of and passed over, if there is an older one; else a
    DamagedCheckpoint is raised, and a VqadError where there is none. A file that ``write_weights``
    wrote will do as well. Variables are nested dicts of NumPy arrays; the metadata hold ``step``.
    """
    if is_weights_file(path):
        return read_weights(path)
    folder = find_folder(path)
    steps = complete_steps(folder)
    for step in reversed(steps):
        try:
            return load_step(folder, step)
        except DamagedCheckpoint as error:
            if step == steps[0]:
                raise _none_left(folder, error) from error
            logger.warning("warning: %s; the one before it is used", error)


def load_step(folder: str, step: int) -> tuple[dict, dict]:
    """Loads variables and metadata of one checkpoint, as ``load_weights`` does of the newest."""
    variables, metadata = load_item(folder, step, "variables")
    return variables, {**metadata, "step": step}


def load_metadata(path: str) -> dict:
    """Loads only the metadata of the newest checkpoint in a folder; may raise DamagedCheckpoint."""
    if is_weights_file(path):
        return read_weights(path)[1]
    return load_description(path, latest_step(path))


def load_training(path: str, step: int, target: Mapping) -> dict:
    """Loads the item ``training`` of a checkpoint into the structure of ``target``.

    Raises a VqadError if there is none (imported weights), DamagedCheckpoint if it cannot be read.
    """
    if not (epath.Path(path) / str(step) / "training").exists():
        raise VqadError(
            f"{path}: holds weights without optimizer state, which cannot be trained on; "
            "give the folder as --config.init_from and another --workdir"
        )
    return load_item(path, step, "training", target)[0]


def set_aside_damaged(path: str) -> None:
    """Renames the newest checkpoints of a folder to ``damaged-<step>`` until one can be read.

    If none can, all stay where they are, and DamagedCheckpoint is raised.
    """
    folder = epath.Path(path)
    damaged: dict[int, DamagedCheckpoint] = {}
    for step in reversed(complete_steps(folder)):
        try:
            for item in ("variables", "training"):
                if (folder / str(step) / item).exists() or item == "variables":
                    load_item(path, step, item)
            break
        except DamagedCheckpoint as error:
            damaged[step] = error
    else:
        if damaged:
            raise _none_left(folder, damaged[min(damaged)])
    for step, error in damaged.items():
        names = itertools.chain([f"damaged-{step}"], (f"damaged-{step}-{i}" for i in range(2, 100)))
        aside = next(folder / name for name in names if not (folder / name).exists())
        (folder / str(step)).rename(aside)
        logger.warning("warning: %s; moved to %s, the one before it is used", error, aside)


def _none_left(folder: str, error: DamagedCheckpoint) -> DamagedCheckpoint:
    return DamagedCheckpoint(
        f"{error}, and no older one either; check the disk, or move {folder} away to train anew"
    )
