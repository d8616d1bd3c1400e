"""Takes from a checkpoint what a stage starts from, strictly."""

from collections.abc import Mapping
from typing import Any

import jax

from vqad.errors import VqadError


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
