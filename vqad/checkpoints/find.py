"""Finds the checkpoints of a folder that were written to the end."""

import re

import orbax.checkpoint as ocp
from etils import epath

from vqad.checkpoints.weights_file import is_weights_file
from vqad.errors import VqadError
from vqad.paths import check_reachable
from vqad.stages import STAGES


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

    A file that ``write_weights`` wrote stands for itself.

    Raises:
      VqadError: there is none.
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
