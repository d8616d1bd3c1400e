"""Writes checkpoints with Orbax."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from vqad.checkpoints.digest import digest
from vqad.checkpoints.read import complete_steps
from vqad.checkpoints.verify import json_digest
from vqad.errors import VqadError, reason
from vqad.paths import absolute, check_reachable

_ROOM = "free disk space or permissions"


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, which leaves it to ``Interruption`` to ask JAX whether a signal came.

    JAX has one counter for all who ask, and Orbax would tell it the step.
    """

    def reached_preemption(self, step: int) -> bool:
        """Asks nobody."""
        return False


def open_manager(path: str, keep: int | None = None) -> ocp.CheckpointManager:
    """Opens a checkpoint folder to write, keeping the last ``keep`` checkpoints (all if None).

    Removes what a killed run left half-written. Raises a VqadError if it cannot be written.
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

    The metadata are JSON-able; ``training`` is what a resumed run needs besides the variables.
    Raises a VqadError if this checkpoint or the one before it could not be written.
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
    """Waits until all is on disk, and closes the folder; a VqadError if a checkpoint is not."""
    with _written(manager.directory):
        manager.wait_until_finished()
    manager.close()


@contextlib.contextmanager
def _written(folder: epath.Path, remedy: str = _ROOM) -> Iterator[None]:
    """Turns what a failed write raises into one line that names the folder."""
    try:
        yield
    except Exception as error:  # of disks, networks and credentials, and of what Orbax reads there
        kept = ", ".join(str(step) for step in complete_steps(folder)) or "none"
        raise VqadError(
            f"{folder}: a checkpoint could not be written ({reason(error)}); {remedy} and run the "
            f"same command again; checkpoints kept: {kept}"
        ) from error


def save_weights(path: str, variables: Mapping, metadata: Mapping[str, Any]) -> None:
    """Writes variables as a checkpoint folder, new or empty before, with one step, 0.

    Of the JSON-able metadata, ``model`` holds the model's fields. Raises a VqadError if the folder
    is not empty, or cannot be written.
    """
    check_reachable(path)
    folder = epath.Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise VqadError(f"{path}: exists and is not an empty folder; give a new one")
    manager = open_manager(path)
    save(manager, 0, variables, metadata)
    finish(manager)
