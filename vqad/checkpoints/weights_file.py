"""Weights of some or all modules as one small safetensors file, in half precision."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save

from vqad.errors import VqadError, explained
from vqad.paths import write_atomic

SUFFIX = ".safetensors"
_KEY = "vqad_weights"


def write_weights(path: str, variables: Mapping, metadata: Mapping[str, Any]) -> None:
    """Writes parameters as float16; codebooks, whose ties float16 would move, as float32.

    Of the JSON-able metadata, ``model`` holds the model's fields. Raises a VqadError for a
    parameter beyond float16's range.
    """
    flat = flatten_dict({key: variables[key] for key in ("params", "codebook")}, sep=".")
    halved = {}
    for name, array in flat.items():
        array = np.asarray(array)
        if name.startswith("params."):
            if not (np.abs(array) < np.finfo(np.float16).max).all():
                raise VqadError(f"{name}: beyond what float16 holds; keep the checkpoint instead")
            array = array.astype(np.float16)
        halved[name] = np.ascontiguousarray(array)
    write_atomic(path, save(halved, {_KEY: json.dumps(dict(metadata), sort_keys=True)}))


def is_weights_file(path: str) -> bool:
    """Whether a path is a file that ``write_weights`` may have written."""
    return str(path).endswith(SUFFIX) and os.path.isfile(path)


def read_weights(path: str) -> tuple[dict, dict]:
    """Variables, float32, and metadata of such a file; a VqadError if it is another, or damaged."""
    remedy = "give a checkpoint folder or a file of tools/pack_weights.py"
    with explained(path, "cannot be read as weights", remedy):
        with safetensors.safe_open(path, framework="np") as file:
            metadata = json.loads((file.metadata() or {})[_KEY])
            flat = {name: array.astype(np.float32) for name, array in file.get_tensors().items()}
        variables = unflatten_dict(flat, sep=".")
        if not isinstance(metadata["model"], dict) or not {"params", "codebook"} <= set(variables):
            raise ValueError("no weights of a model")
    return variables, {"step": 0, **metadata}
