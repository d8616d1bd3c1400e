"""From the tensors of the authors' PyTorch code to vqad's variables, in plain NumPy.

The table in `vqad.interop.authors_table` says which tensor fills which variable; this module checks
a set of state dicts against it, converts layouts, and turns BGR weights into RGB ones.
"""

import re
from collections.abc import Mapping

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vqad.errors import VqadError
from vqad.interop.authors_table import PARTS, table

Tensors = Mapping[str, Mapping[str, np.ndarray]]

# Tensors whose first side is a size of the model.
TELLING = {
    "hiddens": ("vq_model", "_encoder_b._conv_3.weight"),
    "residual_hiddens": ("vq_model", "_encoder_b._residual_stack._layers.0._block.1.weight"),
    "code_dim": ("vq_model", "_pre_vq_conv_top.weight"),
    "num_codes": ("vq_model", "_vq_vae_top._embedding.weight"),
    "restriction_width": ("subspace_restriction_hi", "unet.encoder.block1.0.weight"),
    "object_bottleneck": ("image_recon_module", "pre_vq_conv.weight"),
    "unet_width": ("anomaly_det_module", "unet.encoder.block1.0.weight"),
}

_REVERSED = [2, 1, 0]
# Variables with an axis of image channels: which axis, and their order in RGB, BGR given.
_CHANNELS = {
    "autoencoder.encoder_hi.conv_1.kernel": (2, _REVERSED),
    "autoencoder.general_decoder.conv_transpose_2.kernel": (3, _REVERSED),
    "autoencoder.general_decoder.conv_transpose_2.bias": (0, _REVERSED),
    "object_decoder.conv_transpose_4.kernel": (3, _REVERSED),
    "object_decoder.conv_transpose_4.bias": (0, _REVERSED),
    "detector.encoder_1.conv_1.kernel": (2, [2, 1, 0, 5, 4, 3]),
    "upsampler.encoder_1.conv_1.kernel": (2, [2, 1, 0, 5, 4, 3, 6, 7]),
}


def authors_to_variables(files: Tensors, names: Mapping[str, str] | None = None) -> dict:
    """Maps state dicts of the authors' networks to vqad's variables.

    Args:
        files: For each part (the keys of `PARTS`) its state dict, arrays in PyTorch's layouts; all
            six parts, or `vq_model` alone.
        names: For each part what comes before its tensors in messages; `"<part>: "` by default.

    Returns:
        `{"params": ..., "codebook": ...}`, nested dicts of float32 arrays: convolution kernels
        `[height, width, in, out]` (transposed convolutions too, taps unflipped), channel order as
        in `files`.

    Raises:
        VqadError: Parts or tensors are missing, left over or of the wrong shape; all are named.
    """
    absent = [part for part in PARTS if part not in files]
    if set(files) - set(PARTS) or (absent and set(files) != {"vq_model"}):
        raise VqadError(
            f"the parts given are {', '.join(sorted(files))}; "
            f"give vq_model alone or all of {', '.join(PARTS)}"
        )
    prefixes = {part: f"{part}: " for part in files} | dict(names or {})
    given = {
        (part, name): array for part, tensors in files.items() for name, array in tensors.items()
    }
    try:
        sizes = infer_sizes(files)
    except KeyError as error:
        part, name = error.args[0]
        raise _unlike(f"missing: {prefixes[part]}{name}") from error
    try:
        entries = table(not absent, **sizes)
    except VqadError as error:
        raise _unlike(str(error)) from error
    label = {key: prefixes[key[0]] + key[1] for key in (*entries, *given)}
    both = [key for key in entries if key in given]
    faults = {
        "missing": [label[key] for key in entries if key not in given],
        "left over": [label[key] for key in given if key not in entries],
        "wrong shape": [
            f"{label[key]} is {list(np.shape(given[key]))}, not {list(entries[key].shape)}"
            for key in both
            if np.shape(given[key]) != entries[key].shape
        ],
        "not real floating numbers": [
            f"{label[key]} is {given[key].dtype}"
            for key in both
            if not np.issubdtype(given[key].dtype, np.floating)
        ],
    }
    if found := [f"{title}: {', '.join(listed)}" for title, listed in faults.items() if listed]:
        raise _unlike("; ".join(found))
    arrays = {}
    for key, entry in entries.items():
        array = np.asarray(given[key], np.float32).transpose(entry.axes)
        arrays[entry.path] = np.ascontiguousarray(array)
    return unflatten_dict(arrays)


def infer_sizes(files: Tensors) -> dict[str, int]:
    """The model's fields, read off state dicts as `authors_to_variables` takes them.

    Of `vq_model` alone, `restriction_width`, `object_bottleneck` and `unet_width` are missing.
    Raises a KeyError with the part and name of a tensor that is not there.
    """
    sizes = {}
    for size, (part, name) in TELLING.items():
        if part in files:
            if name not in files[part]:
                raise KeyError((part, name))
            sizes[size] = int((*np.shape(files[part][name]), 0)[0])
    layers = (
        re.match(r"_encoder_b\._residual_stack\._layers\.(\d+)", n) for n in files["vq_model"]
    )
    return {**sizes, "residual_layers": len({found[1] for found in layers if found})}


def bgr_to_rgb(variables: Mapping) -> dict:
    """Turns the weights of a model of BGR images into those of the same model of RGB images.

    Reversed are, in new variables, the image channels that go in (first convolutions of the hi
    encoder, the detector and the upsampler, whose two mask channels stay) and those that come out
    (last layer of both decoders).
    """
    params = flatten_dict(variables["params"], sep=".")
    turned = {
        name: np.take(params[name], order, axis=axis)
        for name, (axis, order) in _CHANNELS.items()
        if name in params
    }
    return {**variables, "params": unflatten_dict({**params, **turned}, sep=".")}


def _unlike(reason: str) -> VqadError:
    return VqadError(
        f"the weights are not those of a DSR model: {reason}. "
        "Give an unchanged checkpoint, all parts from one training"
    )
