"""Weights as one safetensors file: arrays by name, and the description in its header."""

import os
import stat
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import safetensors
from safetensors.numpy import save

from vqad.errors import VqadError
from vqad.interop.export import contents
from vqad.prediction.detector import Detector
from vqad.prediction.loading import detector_of

KEY = "vqad"
"""Entry of the header that holds the description."""

_DEEPEST = 16


def flat(variables: Mapping) -> dict[str, np.ndarray]:
    """Arrays by name: the path in the variables, joined by dots.

    ``params.detector.encoder_1.conv_1.kernel`` is the kernel of that convolution, laid out
    [height, width, in, out]; ``codebook.autoencoder.quantizer_hi.codes`` is K_hi.
    """
    return {
        ".".join(key.key for key in path): np.ascontiguousarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


def nested(arrays: Mapping[str, np.ndarray]) -> dict:
    """Variables from arrays by name; the reverse of ``flat``.

    Raises:
      ValueError: names that no variables have.
    """
    whole: dict = {}
    for name, array in arrays.items():
        *path, last = name.split(".", _DEEPEST)
        part = whole
        for key in path:
            part = part.setdefault(key, {})
            if not isinstance(part, dict):
                raise ValueError(f"{name[:200]!r} lies inside of an array")
        if last in part:
            raise ValueError(f"{name[:200]!r} is a module and an array")
        part[last] = array
    return whole


def pack(trained: Detector, metadata: str) -> bytes:
    """The file's bytes, with the description."""
    return save(flat(trained.variables), {KEY: metadata, "format": "np"})


def read(path: str) -> Detector:
    """Reads a model from a file.

    Raises:
      VqadError: it is damaged, or holds no whole model.
    """
    check_plain(path)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise ValueError(f"its header has no entry {KEY!r}")
            arrays = {name: _float32(name, file) for name in file.keys()}  # noqa: SIM118
        variables = nested(arrays)
    except Exception as error:  # damaged files make the library raise several things
        raise VqadError(_unreadable(path, error)) from error
    return _trained(path, variables, contents.parse(text, path))


def check_plain(path: str) -> None:
    """Refuses what is no plain file, or is not there.

    Raises:
      VqadError: it is not.
    """
    try:
        plain = stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        raise VqadError(f"{path}: cannot be read ({error}); give an export or a folder") from error
    if not plain:
        raise VqadError(f"{path}: a pipe or a device, not a file; give an export or a folder")


def unflatten(data: bytes, path: str) -> dict[str, np.ndarray]:
    """Arrays by name from the bytes of a safetensors file.

    Raises:
      VqadError: it is damaged.
    """
    try:
        arrays = safetensors.numpy.load(data)
        if any(array.dtype != np.float32 for array in arrays.values()):
            raise ValueError("an array is not float32")
        return arrays
    except Exception as error:  # damaged files make the library raise several things
        raise VqadError(_unreadable(path, error)) from error


def _float32(name: str, file: Any) -> np.ndarray:
    kind = file.get_slice(name).get_dtype()
    if kind != "F32":
        raise ValueError(f"{name[:200]} is {kind}, not F32")
    return file.get_tensor(name)


def _trained(path: str, variables: dict, description: contents.Description) -> Detector:
    metadata = {
        "model": description.model,
        "config": {"image_size": description.image_size},
        "step": description.whole["step"],
        "file": path,
    }
    layers = description.model.get("residual_layers", 0)
    count = len(jax.tree.leaves(variables))
    if isinstance(layers, int) and layers > count:  # or their shapes alone would take for ever
        raise VqadError(f"{path}: holds {count} arrays for {layers} residual layers; export again")
    return detector_of(variables, metadata, path, description.limits)


def _unreadable(path: str, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return f"{path}: a safetensors file that cannot be read ({reason}); write it again"
