"""Takes from a checkpoint what a stage starts from, strictly."""

from collections.abc import Mapping

from flax.traverse_util import flatten_dict, unflatten_dict

from vqad.errors import VqadError


def merge(target: Mapping, source: Mapping, name: str) -> dict:
    """Takes every array of ``target``, arrays or shapes, from ``source``, called ``name``.

    Modules that ``target`` lacks altogether are left out; those that it has must fit whole. Raises
    a VqadError if a module or an array is missing, of another shape, or left over in such a module.
    """
    absent = [module for module in target["params"] if module not in source["params"]]
    if absent:
        raise VqadError(
            f"{name}: holds {', '.join(sorted(source['params']))} but not {', '.join(absent)}; "
            "give the checkpoint of a later stage"
        )
    found, wanted = (flatten_dict(tree, sep=".") for tree in (source, target))
    shared = tuple(f"{kind}.{name}." for kind, modules in target.items() for name in modules)
    faults = [f"{key} is missing" for key in wanted if key not in found]
    faults += [
        f"{key} is {list(found[key].shape)}, not {list(array.shape)}"
        for key, array in wanted.items()
        if key in found and found[key].shape != array.shape
    ]
    faults += [f"{k} is left over" for k in found if k not in wanted and k.startswith(shared)]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise VqadError(
            f"{name}: the checkpoint does not fit config.model: {'; '.join(faults[:3])}{more}; "
            "set config.model to the checkpoint's sizes or give another checkpoint"
        )
    return unflatten_dict({key: found[key] for key in wanted}, sep=".")
