"""Checkpoints with Orbax: variables, what training needs besides, and a description.

A checkpoint folder holds one folder for each kept step, with the items ``variables`` (params and
codebook of the whole model so far), ``training`` (optimizer state and counters; absent in imported
weights) and ``metadata`` (JSON: model fields, stage, origin, digests of the arrays).
"""

import contextlib
import itertools
import json
import logging
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import SingleDeviceSharding

from vqad.errors import VqadError
from vqad.paths import absolute, check_reachable
from vqad.training.digest import digest

logger = logging.getLogger(__name__)


class DamagedCheckpoint(VqadError):
    """A checkpoint that was written whole and cannot be read, or holds other bits than were."""


def open_manager(path: str, keep: int | None = None) -> ocp.CheckpointManager:
    """Opens a checkpoint folder to write, keeping the last ``keep`` checkpoints (all if None).

    Removes what a killed run left half-written.

    Raises:
      VqadError: the folder cannot be written.
    """
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=True, cleanup_tmp_directories=True
    )
    with _written(epath.Path(path)):
        return _manager(path, options)


def _open_to_read(path: str) -> ocp.CheckpointManager:
    # Each process reads by itself, and waits for no other.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"process_{jax.process_index()}",
    )
    options = ocp.CheckpointManagerOptions(read_only=True, multiprocessing_options=alone)
    return _manager(path, options)


def _manager(path: str, options: ocp.CheckpointManagerOptions) -> ocp.CheckpointManager:
    handlers = {
        "variables": ocp.StandardCheckpointHandler(),
        "training": ocp.StandardCheckpointHandler(),
        "metadata": ocp.JsonCheckpointHandler(),
    }
    return ocp.CheckpointManager(absolute(path), item_handlers=handlers, options=options)


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
    digests["metadata"] = _json_digest(metadata)
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
def _written(folder: epath.Path) -> Iterator[None]:
    """Turns what a failed write raises into one line that names the folder."""
    try:
        yield
    except Exception as error:  # of disks, of TensorStore, of networks and credentials
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        kept = ", ".join(str(step) for step in whole_steps(folder)) or "none"
        raise VqadError(
            f"{folder}: a checkpoint could not be written ({reason}); free disk space or "
            f"permissions and run the same command again; checkpoints kept: {kept}"
        ) from error


def whole_steps(path: str) -> list[int]:
    """Steps of the checkpoints in a folder that were written to the end, ascending."""
    folder = epath.Path(path)
    if not folder.is_dir():
        return []
    # Orbax also takes folders like name_1 for steps.
    return sorted(s for s in ocp.utils.checkpoint_steps(folder) if (folder / str(s)).is_dir())


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
      Variables as nested dicts of NumPy arrays, and the metadata.

    Raises:
      VqadError: no checkpoint there.
      DamagedCheckpoint: none that can be read.
    """
    folder = find_folder(path)
    oldest, *newer = whole_steps(folder)
    for step in reversed(newer):
        try:
            return load_item(folder, step, "variables")
        except DamagedCheckpoint as error:
            logger.warning("warning: %s; the one before it is used", error)
    try:
        return load_item(folder, oldest, "variables")
    except DamagedCheckpoint as error:
        raise _none_left(folder, error) from error


def load_metadata(path: str) -> dict:
    """Loads only the metadata of the newest checkpoint in a checkpoint folder.

    Raises:
      DamagedCheckpoint: it cannot be read.
    """
    step = latest_step(path)
    with _read(path, step) as manager:
        return _metadata(manager, step)


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


def load_item(path: str, step: int, item: str, target: Any = None) -> tuple[Any, dict]:
    """Loads an item of a checkpoint, checked against its digest.

    Args:
      path: checkpoint folder.
      step: which checkpoint.
      item: ``variables`` or ``training``.
      target: arrays or shapes whose containers the result is to have; dicts and lists if None.

    Returns:
      The item with NumPy arrays, and the metadata.

    Raises:
      DamagedCheckpoint: it cannot be read, or holds other bits than were written.
    """
    with _read(path, step) as manager:
        metadata = _metadata(manager, step)
        if target is None:
            target = getattr(manager.item_metadata(step), item).tree
        # Onto one device, whatever devices wrote it.
        here = SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), target
        )
        args = ocp.args.Composite(**{item: ocp.args.StandardRestore(target)})
        tree = jax.device_get(manager.restore(step, args=args)[item])
        # Checkpoints from before there were digests have none.
        digests = metadata.pop("digests", {})
        for name, found in ((item, digest(tree)), ("metadata", _json_digest(metadata))):
            if digests.get(name, found) != found:
                raise ValueError(f"its {name} are not those that were written")
    return tree, metadata


def _json_digest(metadata: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(metadata, sort_keys=True).encode())


def _metadata(manager: ocp.CheckpointManager, step: int) -> dict:
    args = ocp.args.Composite(metadata=ocp.args.JsonRestore())
    return manager.restore(step, args=args).metadata


@contextlib.contextmanager
def _read(folder: str, step: int) -> Iterator[ocp.CheckpointManager]:
    """Opens a folder; what a failed read raises becomes one line that names the checkpoint."""
    try:
        with _open_to_read(folder) as manager:
            yield manager
    except Exception as error:  # damaged files make Orbax and its libraries raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DamagedCheckpoint(
            f"{epath.Path(folder) / str(step)}: a checkpoint that cannot be read ({reason})"
        ) from error


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
