"""Checkpoints with Orbax: variables, what training needs besides, and a description.

A checkpoint folder holds one folder for each kept step, with the items ``variables`` (params and
codebook of the whole model so far), ``training`` (optimizer state and counters; absent in imported
weights) and ``metadata`` (JSON: model fields, stage, origin, digests of the arrays).
"""

import contextlib
import itertools
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from vqad.errors import VqadError
from vqad.paths import absolute, check_reachable
from vqad.training.checkpoint_reader import (
    DamagedCheckpoint,
    json_digest,
    load_description,
    load_item,
)
from vqad.training.digest import digest

logger = logging.getLogger(__name__)

_ROOM = "free disk space or permissions"


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, which leaves it to ``Interruption`` to ask JAX whether a signal came.

    JAX counts what it is asked, by one counter for all who ask: Orbax would tell it the step, and
    the count that the processes agree to stop at could be one that is never asked about.
    """

    def reached_preemption(self, step: int) -> bool:
        """Asks nobody."""
        del step
        return False


def open_manager(path: str, keep: int | None = None) -> ocp.CheckpointManager:
    """Opens a checkpoint folder to write, keeping the last ``keep`` checkpoints (all if None).

    Removes what a killed run left half-written.

    Raises:
      VqadError: the folder cannot be written.
    """
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=True, cleanup_tmp_directories=True
    )
    handlers = {
        "variables": ocp.StandardCheckpointHandler(),
        "training": ocp.StandardCheckpointHandler(),
        "metadata": ocp.JsonCheckpointHandler(),
    }
    remedy = f"{_ROOM}, or delete each _CHECKPOINT_METADATA in it that Orbax did not write,"
    with _written(epath.Path(path), remedy):
        return _Manager(absolute(path), item_handlers=handlers, options=options)


def save(
    manager: ocp.CheckpointManager,
    step: int,
    variables: Mapping,
    metadata: Mapping[str, Any],
    training: Mapping | None = None,
) -> None:
    """Saves a checkpoint; returns once the arrays are copied, the files follow.

    Args:
      manager: the folder's manager.
      step: steps done.
      variables: ``{"params": ..., "codebook": ...}``.
      metadata: JSON-able description.
      training: what a resumed run needs besides.

    Raises:
      VqadError: this checkpoint or the one before it could not be written.
    """
    trees = {"variables": variables}
    if training is not None:
        trees["training"] = training
    if jax.process_count() == 1:
        # Copied once for digest and files; of JAX's arrays Orbax would compile slices by device.
        trees = jax.device_get(trees)
    digests = {name: digest(tree) for name, tree in trees.items()}
    digests["metadata"] = json_digest(metadata)
    items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
    items["metadata"] = ocp.args.JsonSave({**metadata, "digests": digests})
    with _written(manager.directory):
        manager.save(step, args=ocp.args.Composite(**items))


def finish(manager: ocp.CheckpointManager) -> None:
    """Waits until everything is on disk and closes the folder.

    Raises:
      VqadError: a checkpoint could not be written.
    """
    with _written(manager.directory):
        manager.wait_until_finished()
    manager.close()


@contextlib.contextmanager
def _written(folder: epath.Path, remedy: str = _ROOM) -> Iterator[None]:
    """Turns what a failed write raises into one line that names the folder."""
    try:
        yield
    except Exception as error:  # of disks, networks and credentials, and of what Orbax reads there
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        kept = ", ".join(str(step) for step in whole_steps(folder)) or "none"
        raise VqadError(
            f"{folder}: a checkpoint could not be written ({reason}); {remedy} and run the same "
            f"command again; checkpoints kept: {kept}"
        ) from error


def whole_steps(path: str) -> list[int]:
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
    return max(whole_steps(path), default=None)


def find_folder(path: str) -> str:
    """The checkpoint folder that a user means: the newest stage in a workdir, or the folder itself.

    Raises:
      VqadError: there is none.
    """
    check_reachable(path)
    root = epath.Path(path)
    if not root.exists():
        raise VqadError(f"{path}: no such folder; give a workdir or a checkpoint folder")
    for folder in (root / "stage3", root / "stage2", root / "stage1", root):
        if latest_step(folder) is not None:
            return str(folder)
    raise VqadError(f"{path}: holds no checkpoint; train first, or give another folder")


def load_weights(path: str) -> tuple[dict, dict]:
    """Loads variables and metadata of the newest checkpoint in a workdir or checkpoint folder.

    A damaged checkpoint is told of and passed over, if there is an older one.

    Args:
      path: workdir, or checkpoint folder.

    Returns:
      Variables as nested dicts of NumPy arrays, and the metadata, with ``step``.

    Raises:
      VqadError: no checkpoint there.
      DamagedCheckpoint: none that can be read.
    """
    folder = find_folder(path)
    oldest, *newer = whole_steps(folder)
    for step in reversed(newer):
        try:
            return load_step(folder, step)
        except DamagedCheckpoint as error:
            logger.warning("warning: %s; the one before it is used", error)
    try:
        return load_step(folder, oldest)
    except DamagedCheckpoint as error:
        raise _none_left(folder, error) from error


def load_step(folder: str, step: int) -> tuple[dict, dict]:
    """Loads variables and metadata of one checkpoint, as ``load_weights`` does of the newest.

    Raises:
      DamagedCheckpoint: it cannot be read.
    """
    variables, metadata = load_item(folder, step, "variables")
    return variables, {**metadata, "step": step}


def load_metadata(path: str) -> dict:
    """Loads only the metadata of the newest checkpoint in a checkpoint folder.

    Raises:
      DamagedCheckpoint: it cannot be read.
    """
    return load_description(path, latest_step(path))


def load_training(path: str, step: int, target: Mapping) -> dict:
    """Loads the item ``training`` of a checkpoint into the structure of ``target``.

    Raises:
      VqadError: there is none (imported weights).
      DamagedCheckpoint: it cannot be read.
    """
    if not (epath.Path(path) / str(step) / "training").exists():
        raise VqadError(
            f"{path}: holds weights without optimizer state, which cannot be trained on; "
            "give the folder as --config.init_from and another --workdir"
        )
    return load_item(path, step, "training", target)[0]


def set_aside_damaged(path: str) -> None:
    """Renames the newest checkpoints of a folder to ``damaged-<step>`` until one can be read.

    Raises:
      DamagedCheckpoint: none can be read; all stay where they are.
    """
    folder = epath.Path(path)
    damaged: dict[int, DamagedCheckpoint] = {}
    for step in reversed(whole_steps(folder)):
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


def save_weights(path: str, variables: Mapping, metadata: Mapping[str, Any]) -> None:
    """Writes variables as a checkpoint folder with one step, 0.

    Args:
      path: folder, new or empty.
      variables: ``{"params": ..., "codebook": ...}``.
      metadata: JSON-able; ``metadata["model"]`` holds the model's fields.

    Raises:
      VqadError: the folder is not empty, or cannot be written.
    """
    check_reachable(path)
    folder = epath.Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise VqadError(f"{path}: exists and is not an empty folder; give a new one")
    manager = open_manager(path)
    save(manager, 0, variables, metadata)
    finish(manager)


def merge(target: Mapping, source: Mapping, name: str) -> dict:
    """Takes from ``source`` every array of ``target``, strictly.

    Modules that ``target`` lacks altogether are left out; those that it has must fit whole.

    Args:
      target: variables, arrays or shapes.
      source: variables; may hold more modules than ``target``.
      name: what a message calls the source.

    Returns:
      The structure of ``target`` with the arrays of ``source``.

    Raises:
      VqadError: a module or an array is missing, an array is of another shape, or one of the
        modules has arrays in the source that ``target`` lacks.
    """
    absent = [module for module in target["params"] if module not in source["params"]]
    if absent:
        raise VqadError(
            f"{name}: holds {', '.join(sorted(source['params']))} but not {', '.join(absent)}; "
            "give the checkpoint of a later stage"
        )
    faults = []

    def take(path: tuple, wanted: Any) -> Any:
        found: Any = source
        for key in path:
            found = found.get(key.key) if isinstance(found, Mapping) else None
        where = ".".join(key.key for key in path)
        if found is None or isinstance(found, Mapping):
            faults.append(f"{where} is missing")
        elif found.shape != wanted.shape:
            faults.append(f"{where} is {list(found.shape)}, not {list(wanted.shape)}")
        return found

    merged = jax.tree_util.tree_map_with_path(take, target)
    wanted = {path for path, _ in jax.tree_util.tree_leaves_with_path(target)}
    shared = {
        collection: {name: source.get(collection, {}).get(name, {}) for name in modules}
        for collection, modules in target.items()
    }
    for path, _ in jax.tree_util.tree_leaves_with_path(shared):
        if path not in wanted:
            faults.append(f"{'.'.join(key.key for key in path)} is left over")
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise VqadError(
            f"{name}: the checkpoint does not fit config.model: {'; '.join(faults[:3])}{more}; "
            "set config.model to the checkpoint's sizes or give another checkpoint"
        )
    return merged
