"""Checkpoints with Orbax: variables, what training needs besides, and a description.

A checkpoint folder holds one folder for each kept step, with the items ``variables`` (params and
codebook of the whole model so far), ``training`` (optimizer state and counters; absent in imported
weights) and ``metadata`` (JSON: model fields, stage, origin).
"""

from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from vqad.errors import VqadError


def open_manager(path: str, keep: int | None = None) -> ocp.CheckpointManager:
    """Opens a checkpoint folder, keeping the last ``keep`` checkpoints (all if None)."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=True, enable_async_checkpointing=True
    )
    handlers = {
        "variables": ocp.StandardCheckpointHandler(),
        "training": ocp.StandardCheckpointHandler(),
        "metadata": ocp.JsonCheckpointHandler(),
    }
    folder = epath.Path(path).absolute()
    return ocp.CheckpointManager(folder, item_handlers=handlers, options=options)


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
    items = {
        "variables": ocp.args.StandardSave(variables),
        "metadata": ocp.args.JsonSave(dict(metadata)),
    }
    if training is not None:
        items["training"] = ocp.args.StandardSave(training)
    with _naming_the_folder(manager):
        manager.save(step, args=ocp.args.Composite(**items))


def finish(manager: ocp.CheckpointManager) -> None:
    """Waits until everything is on disk and closes the folder.

    Raises:
      VqadError: a checkpoint could not be written.
    """
    with _naming_the_folder(manager):
        manager.wait_until_finished()
    manager.close()


class _naming_the_folder:
    """Turns whatever a failed write raises into one line that names the folder."""

    def __init__(self, manager: ocp.CheckpointManager) -> None:
        self.manager = manager

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, _: Any) -> None:
        if not isinstance(error, Exception):
            return
        lines = str(error).strip().splitlines() or [kind.__name__]
        kept = ", ".join(str(step) for step in whole_steps(self.manager.directory)) or "none"
        raise VqadError(
            f"{self.manager.directory}: a checkpoint could not be written ({lines[0][:200]}); "
            f"free disk space or permissions and run the same command again; checkpoints kept: "
            f"{kept}"
        ) from error


def whole_steps(path: str) -> list[int]:
    """Steps of the checkpoints in a folder that were written to the end, ascending."""
    folder = epath.Path(path)
    return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


def latest_step(path: str) -> int | None:
    """Newest whole checkpoint of a folder, or None."""
    return max(whole_steps(path), default=None)


def find_folder(path: str) -> str:
    """The checkpoint folder that a user means: itself, or the newest stage in a workdir.

    Raises:
      VqadError: there is none.
    """
    root = epath.Path(path)
    if not root.exists():
        raise VqadError(f"{path}: no such folder; give a workdir or a checkpoint folder")
    for folder in (root, root / "stage3", root / "stage2", root / "stage1"):
        if latest_step(folder) is not None:
            return str(folder)
    raise VqadError(f"{path}: holds no checkpoint; train first, or give another folder")


def load_weights(path: str) -> tuple[dict, dict]:
    """Loads variables and metadata of the newest checkpoint in a workdir or checkpoint folder.

    Args:
      path: workdir, or checkpoint folder.

    Returns:
      Variables as nested dicts of NumPy arrays, and the metadata.

    Raises:
      VqadError: no checkpoint there, or it cannot be read.
    """
    folder = find_folder(path)
    step = latest_step(folder)
    with open_manager(folder) as manager:
        try:
            metadata = manager.restore(
                step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore())
            ).metadata
            structure = manager.item_metadata(step).variables
            target = jax.tree.map(
                lambda a: ocp.utils.to_shape_dtype_struct(a, scalar_dtype=None), structure.tree
            )
            variables = _restore_arrays(manager, step, "variables", target)
        except (ValueError, KeyError, OSError, TypeError, AttributeError) as error:
            line = (str(error).splitlines() or [""])[0][:200]
            raise VqadError(
                f"{folder}: checkpoint {step} cannot be read ({line}); "
                "delete it to use the one before"
            ) from error
    return variables, metadata


def _restore_arrays(manager: ocp.CheckpointManager, step: int, item: str, target: Any) -> Any:
    restored = manager.restore(
        step, args=ocp.args.Composite(**{item: ocp.args.StandardRestore(target)})
    )
    return jax.device_get(restored[item])


def restore_training(path: str, step: int, target: Mapping) -> dict:
    """Loads the item ``training`` of a checkpoint into the structure of ``target``."""
    with open_manager(path) as manager:
        return manager.restore(
            step, args=ocp.args.Composite(training=ocp.args.StandardRestore(target))
        ).training


def save_weights(path: str, variables: Mapping, metadata: Mapping[str, Any]) -> None:
    """Writes variables as a checkpoint folder with one step, 0.

    Args:
      path: folder, new or empty.
      variables: ``{"params": ..., "codebook": ...}``.
      metadata: JSON-able; ``metadata["model"]`` holds the model's fields.

    Raises:
      VqadError: the folder is not empty, or cannot be written.
    """
    folder = epath.Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise VqadError(f"{path}: exists and is not an empty folder; give a new one")
    manager = open_manager(path)
    save(manager, 0, variables, metadata)
    finish(manager)


def merge(target: Mapping, source: Mapping, name: str) -> dict:
    """Takes from ``source`` every array of ``target``, strictly.

    Args:
      target: nested dicts of arrays or shapes.
      source: nested dicts of arrays; may hold more than ``target`` at its top two levels.
      name: what a message calls the source.

    Returns:
      The structure of ``target`` with the arrays of ``source``.

    Raises:
      VqadError: an array is missing or of another shape.
    """
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
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise VqadError(
            f"{name}: the checkpoint does not fit config.model: {'; '.join(faults[:3])}{more}; "
            "set config.model to the checkpoint's sizes or give another checkpoint"
        )
    return merged
