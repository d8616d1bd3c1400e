"""Weights as one safetensors file: arrays by name, and the description in its header."""

import os
import stat
from collections.abc import Mapping
from contextlib import AbstractContextManager

import jax
import numpy as np
import safetensors
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load, save

from vqad.errors import VqadError, explained
from vqad.interop.export import contents
from vqad.prediction.detector import Detector
from vqad.prediction.loading import detector_of

_DEEPEST = 16


def pack(trained: Detector, text: str) -> bytes:
    """The file's bytes, with the description."""
    return save(flat(trained.variables), {contents.KEY: text, "format": "np"})


def flat(variables: Mapping) -> dict[str, np.ndarray]:
    """Arrays by name: the path in the variables, joined by dots.

    ``params.detector.encoder_1.conv_1.kernel`` is the kernel of that convolution, laid out
    [height, width, in, out]; ``codebook.autoencoder.quantizer_hi.codes`` is K_hi.
    """
    leaves = flatten_dict(variables, sep=".")
    return {name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()}


def read(path: str) -> Detector:
    """Reads a model from a file; a VqadError if it is damaged, or holds no whole model."""
    check_plain(path)
    with _readable(path), safetensors.safe_open(path, framework="np") as file:
        text = (file.metadata() or {}).get(contents.KEY)
        if text is None:
            raise ValueError(f"its header has no entry {contents.KEY!r}")
        variables = unflatten_dict(_checked(file.get_tensors()), sep=".")
    description = contents.parse(text, path)
    layers = description.metadata["model"].get("residual_layers", 0)
    count = len(jax.tree.leaves(variables))
    if isinstance(layers, int) and layers > count:  # or their shapes alone would take for ever
        raise VqadError(f"{path}: holds {count} arrays for {layers} residual layers; export again")
    return detector_of(variables, description.metadata, path, description.limits)


def read_bytes(data: bytes, path: str) -> dict[str, np.ndarray]:
    """Arrays by name from the bytes of a safetensors file; a VqadError if it is damaged."""
    with _readable(path):
        return _checked(load(data))


def check_plain(path: str) -> None:
    """Raises a VqadError for what is no plain file, or is not there."""
    with explained(path, "cannot be read", "give an export or a folder"):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("a pipe or a device, not a file")


def _checked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise ValueError(f"{name[:200]} is {array.dtype}, not float32")
        if name.count(".") > _DEEPEST:
            raise ValueError(f"{name[:200]}... lies deeper than any variable")
    return arrays


def _readable(path: str) -> AbstractContextManager[None]:
    return explained(path, "a safetensors file that cannot be read", "write it again")
