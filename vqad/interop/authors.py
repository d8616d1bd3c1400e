"""From the tensors of the authors' PyTorch code to vqad's variables, in plain NumPy.

The table in `vqad.interop.authors_table` says which tensor fills which variable; this module checks
a set of state dicts against it, converts layouts, and turns BGR weights into RGB ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from vqad.errors import VqadError
from vqad.interop.authors_table import PARTS, Entry, read_sizes, table

Tensors = Mapping[str, Mapping[str, np.ndarray]]


def authors_to_variables(files: Tensors, names: Mapping[str, str] | None = None) -> dict:
    """Maps state dicts of the authors' networks to vqad's variables.

    Args:
        files: For each part (`vq_model`, `subspace_restriction_hi`, `subspace_restriction_lo`,
            `image_recon_module`, `anomaly_det_module`, `upsample_module`) its state dict as arrays
            of any real floating dtype in PyTorch's layouts; all six parts, or `vq_model` alone.
        names: For each part the prefix that its tensors get in error messages; `"<part>: "` by
            default.

    Returns:
        `{"params": ..., "codebook": ...}`, nested dicts of float32 arrays: convolution kernels
        `[height, width, in, out]` (transposed convolutions too, taps unflipped), channel order as
        in `files`.

    Raises:
        VqadError: Parts or tensors are missing, left over or of the wrong shape; the message lists
            them all.
    """
    absent = [part for part in PARTS if part not in files]
    if set(files) - set(PARTS) or (absent and set(files) != {"vq_model"}):
        raise VqadError(
            f"the parts given are {_join(sorted(files))}; "
            f"give vq_model alone or all of {_join(PARTS)}"
        )
    prefixes = {part: f"{part}: " for part in files} | dict(names or {})
    entries = table(read_sizes(files), list(files))
    _check(files, entries, prefixes)
    variables: dict = {}
    for entry in entries:
        array = np.asarray(files[entry.part][entry.name], np.float32)
        _put(variables, entry.path, np.ascontiguousarray(array.transpose(entry.axes)))
    return variables


def infer_sizes(variables: Mapping) -> dict[str, int]:
    """Reads the model's fields off its variables.

    Args:
        variables: As `authors_to_variables` returns them; the autoencoder alone or the whole model.

    Returns:
        `hiddens`, `residual_hiddens`, `residual_layers`, `code_dim` and `num_codes`; for the whole
        model also `restriction_width`, `object_bottleneck` and `unet_width`.
    """
    params = variables["params"]
    encoder = params["autoencoder"]["encoder_hi"]
    num_codes, code_dim = variables["codebook"]["autoencoder"]["quantizer_hi"]["codes"].shape
    sizes = {
        "hiddens": encoder["conv_2"]["kernel"].shape[-1],
        "residual_hiddens": encoder["residual_stack"]["layer_0"]["conv_1"]["kernel"].shape[-1],
        "residual_layers": len(encoder["residual_stack"]),
        "code_dim": code_dim,
        "num_codes": num_codes,
    }
    if "detector" in params:
        first = params["restriction_hi"]["encoder_1"]["conv_1"]
        sizes["restriction_width"] = first["kernel"].shape[-1]
        sizes["object_bottleneck"] = params["object_decoder"]["bottleneck"]["kernel"].shape[-1]
        sizes["unet_width"] = params["detector"]["encoder_1"]["conv_1"]["kernel"].shape[-1]
    return sizes


def bgr_to_rgb(variables: Mapping) -> dict:
    """Turns the weights of a model of BGR images into those of the same model of RGB images.

    Args:
        variables: As `authors_to_variables` returns them; not changed.

    Returns:
        New variables. Reversed are the image channels that go in (first convolutions of the hi
        encoder, the detector and the upsampler, whose two mask channels stay) and out (last layer
        of both decoders).
    """
    params = _copy(variables["params"])
    _reverse(params["autoencoder"]["encoder_hi"]["conv_1"], "kernel", 2, [2, 1, 0])
    decoders = [params["autoencoder"]["general_decoder"]["conv_transpose_2"]]
    if "detector" in params:
        decoders.append(params["object_decoder"]["conv_transpose_4"])
        images = [2, 1, 0, 5, 4, 3]
        _reverse(params["detector"]["encoder_1"]["conv_1"], "kernel", 2, images)
        _reverse(params["upsampler"]["encoder_1"]["conv_1"], "kernel", 2, [*images, 6, 7])
    for decoder in decoders:
        _reverse(decoder, "kernel", 3, [2, 1, 0])
        _reverse(decoder, "bias", 0, [2, 1, 0])
    return {"params": params, "codebook": _copy(variables["codebook"])}


def _check(files: Tensors, entries: Sequence[Entry], prefixes: Mapping[str, str]) -> None:
    wanted = {(entry.part, entry.name): entry for entry in entries}
    given = {
        (part, name): array for part, tensors in files.items() for name, array in tensors.items()
    }

    def label(key: tuple[str, str]) -> str:
        return prefixes[key[0]] + key[1]

    faults = {
        "missing": [label(key) for key in wanted if key not in given],
        "left over": [label(key) for key in given if key not in wanted],
        "wrong shape": [
            f"{label(key)} is {_shape(np.shape(given[key]))}, not {_shape(entry.shape)}"
            for key, entry in wanted.items()
            if key in given and not entry.fits(np.shape(given[key]))
        ],
        "not real floating numbers": [
            f"{label(key)} is {given[key].dtype}"
            for key in wanted
            if key in given and not np.issubdtype(given[key].dtype, np.floating)
        ],
    }
    found = [f"{title}: {_join(listed)}" for title, listed in faults.items() if listed]
    if found:
        raise VqadError(
            f"the weights are not those of a DSR model: {'; '.join(found)}. "
            "Give an unchanged checkpoint, all parts from one training"
        )


def _join(listed: Sequence[str]) -> str:
    return ", ".join(listed)


def _shape(dims: Sequence[float]) -> str:
    return "[" + ", ".join("?" if dim != dim else f"{dim:g}" for dim in dims) + "]"


def _put(tree: dict, path: tuple[str, ...], array: np.ndarray) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = array


def _copy(tree: Mapping) -> dict:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in tree.items()}


def _reverse(layer: dict, name: str, axis: int, order: list[int]) -> None:
    layer[name] = np.take(layer[name], order, axis=axis)
