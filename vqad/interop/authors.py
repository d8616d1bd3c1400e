"""From the tensors of the authors' PyTorch code to vqad's variables, in plain NumPy.

The table in `vqad.interop.authors_table` says which tensor fills which variable; this module checks
a set of state dicts against it, converts layouts, and turns BGR weights into RGB ones.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vqad.errors import VqadError
from vqad.interop.authors_table import PARTS, Entry, table

Tensors = Mapping[str, Mapping[str, np.ndarray]]

# Sizes of which none is a sum, a half or a multiple of others: a side of the model that has them
# tells which size it is.
_PROBE = {
    "hiddens": 202,
    "residual_hiddens": 103,
    "residual_layers": 0,  # no side has that many
    "code_dim": 107,
    "num_codes": 109,
    "restriction_width": 113,
    "object_bottleneck": 127,
    "unet_width": 131,
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
        files: For each part (`vq_model`, `subspace_restriction_hi`, `subspace_restriction_lo`,
            `image_recon_module`, `anomaly_det_module`, `upsample_module`) its state dict as arrays
            of any real floating dtype in PyTorch's layouts; all six parts, or `vq_model` alone.
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
    given = {
        (part, name): array for part, tensors in files.items() for name, array in tensors.items()
    }
    try:
        entries = table(not absent, **_sizes(given, not absent))
    except VqadError as error:
        raise _unlike(str(error)) from error
    prefixes = {part: f"{part}: " for part in files} | dict(names or {})
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


def infer_sizes(variables: Mapping) -> dict[str, int]:
    """Reads the model's fields off its variables, as `authors_to_variables` returns them.

    Of the autoencoder alone, `restriction_width`, `object_bottleneck` and `unet_width` are missing.
    """
    layers = len(variables["params"]["autoencoder"]["encoder_hi"]["residual_stack"])
    flat = flatten_dict(variables)
    return _vote(
        "detector" in variables["params"],
        layers,
        lambda _, entry: flat[entry.path].transpose(np.argsort(entry.axes)).shape,
    )


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


def _sizes(given: Mapping[tuple[str, str], np.ndarray], whole: bool) -> dict[str, int]:
    """The sizes that most tensors have, so that one of others stands out."""
    stacks: dict[str, set] = {}
    for part, name in given:
        found = re.match(r"(\w+)\._residual_stack\._layers\.([^.]*)", name)
        if part == "vq_model" and found:
            stacks.setdefault(found[1], set()).add(found[2])
    # A number left out is then missing, and a larger one left over.
    layers = Counter(map(len, stacks.values())).most_common(1)[0][0] if stacks else 1
    return _vote(whole, layers, lambda key, _: np.shape(given.get(key)))


def _vote(
    whole: bool, layers: int, shape: Callable[[tuple[str, str], Entry], tuple[int, ...]]
) -> dict[str, int]:
    """The model's fields, each as most of the tensors say; a VqadError if none tells one."""
    votes: dict[int, Counter] = {}
    for key, entry in table(whole, **{**_PROBE, "residual_layers": layers}).items():
        found = shape(key, entry)
        for axis, side in enumerate(entry.shape):
            votes.setdefault(side, Counter()).update(found[axis : axis + 1])
    votes[0] = Counter([layers])
    sizes = {}
    for name, side in _PROBE.items():
        if side in votes:
            if not votes[side]:
                raise VqadError(f"no tensor tells {name}")
            sizes[name] = votes[side].most_common(1)[0][0]
    return sizes


def _unlike(reason: str) -> VqadError:
    return VqadError(
        f"the weights are not those of a DSR model: {reason}. "
        "Give an unchanged checkpoint, all parts from one training"
    )
