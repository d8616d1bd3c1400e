"""Which tensor of the authors' PyTorch code fills which variable of vqad."""

import functools
import re
from typing import NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict

from vqad.config import build_model
from vqad.stages import STAGES
from vqad.training.initialization import variable_shapes


class Part(NamedTuple):
    """A network of the authors: our module, and the prefix of its tensors in anomalib's `Dsr`."""

    module: str
    anomalib: str


PARTS = {
    "vq_model": Part("autoencoder", "model.discrete_latent_model."),
    "subspace_restriction_hi": Part("restriction_hi", "model.subspace_restriction_module_hi."),
    "subspace_restriction_lo": Part("restriction_lo", "model.subspace_restriction_module_lo."),
    "image_recon_module": Part("object_decoder", "model.image_reconstruction_network."),
    "anomaly_det_module": Part("detector", "model.anomaly_detection_module."),
    "upsample_module": Part("upsampler", "model.upsampling_module."),
}
"""By the authors' names, one file each."""

_UNET = {
    "encoder_#.conv_1": "unet.encoder.block#.0",
    "encoder_#.conv_2": "unet.encoder.block#.3",
    **{f"decoder_{4 - i}.conv_1": f"unet.decoder.db{i}.0" for i in (1, 2, 3)},
    **{f"decoder_{4 - i}.conv_2": f"unet.decoder.db{i}.3" for i in (1, 2, 3)},
    **{f"up_{4 - i}.conv_1": f"unet.decoder.up{i}.1" for i in (1, 2, 3)},
    "output": "unet.decoder.fin_out.0",
}


def _stack(ours: str, theirs: str) -> dict[str, str]:
    block = f"{theirs}_residual_stack._layers.#._block"
    layer = f"{ours}residual_stack.layer_#"
    return {f"{layer}.conv_1": f"{block}.1", f"{layer}.conv_2": f"{block}.3"}


_LAYERS = {
    "autoencoder": {
        "encoder_hi.conv_#": "_encoder_b._conv_#",
        **_stack("encoder_hi.", "_encoder_b."),
        "encoder_lo.conv_#": "_encoder_t._conv_#",
        **_stack("encoder_lo.", "_encoder_t."),
        "pre_quantizer_lo": "_pre_vq_conv_top",
        "pre_quantizer_hi": "_pre_vq_conv_bot",
        "upsample_lo": "upsample_t",
        "general_decoder.conv_#": "_decoder_b._conv_#",
        **_stack("general_decoder.", "_decoder_b."),
        "general_decoder.conv_transpose_#": "_decoder_b._conv_trans_#",
        "quantizer_lo": "_vq_vae_top",
        "quantizer_hi": "_vq_vae_bot",
    },
    "restriction_hi": _UNET,
    "restriction_lo": _UNET,
    "object_decoder": {
        "block_#.conv_1": "block#.0",
        "block_#.conv_2": "block#.3",
        "bottleneck": "pre_vq_conv",
        "conv_transpose_1": "upblock1",
        "conv_transpose_2": "upblock2",
        "conv_1": "_conv_1",
        **_stack("", ""),
        "conv_transpose_3": "_conv_trans_1",
        "conv_transpose_4": "_conv_trans_2",
    },
    "detector": _UNET,
    "upsampler": _UNET,
}
"""Of each network, our layers and theirs; # is a number, the same in both."""

_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "codes": "_embedding.weight",
    "cluster_size": "_ema_cluster_size",
    "ema_sum": "_ema_w",
}


class Entry(NamedTuple):
    """Where a tensor goes, the shape that the authors' has, and the order of its axes there."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    axes: tuple[int, ...]


@functools.lru_cache(maxsize=8)
def table(whole: bool = True, **sizes: int) -> dict[tuple[str, str], Entry]:
    """Every tensor of a model with these fields, or of its autoencoder, by part and name."""
    stage = STAGES["stage3" if whole else "stage1"]
    shapes = flatten_dict(variable_shapes(build_model(sizes), stage))
    entries = {}
    for path, leaf in shapes.items():
        part, name, axes = _source(path)
        axes = axes or tuple(range(len(leaf.shape)))
        shape = tuple(leaf.shape[i] for i in np.argsort(axes))
        entries[part, name] = Entry(path, shape, axes)
    return entries


def _source(path: tuple[str, ...]) -> tuple[str, str, tuple[int, ...]]:
    """Part and name of a variable's tensor, and the order of its axes where that changes."""
    _, module, *layer, leaf = path
    axes = ()
    if leaf == "kernel":
        # Theirs are [in, out, height, width] of transposed convolutions, else [out, in, ...].
        transposed = layer[-1].startswith(("conv_transpose", "upsample"))
        axes = (2, 3, 0, 1) if transposed else (2, 3, 1, 0)
    for ours, theirs in _LAYERS[module].items():
        if found := re.fullmatch(ours.replace("#", r"(\d+)"), ".".join(layer)):
            name = theirs.replace("#", found[1]) if "#" in theirs else theirs
            part = next(part for part, of in PARTS.items() if of.module == module)
            return part, f"{name}.{_LEAVES[leaf]}", axes
    raise LookupError(f"the authors have no {'.'.join(path)}")
