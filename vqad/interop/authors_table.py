"""Which tensor of the authors' PyTorch code fills which variable of vqad, with its shape."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PARTS = (
    "vq_model",
    "subspace_restriction_hi",
    "subspace_restriction_lo",
    "image_recon_module",
    "anomaly_det_module",
    "upsample_module",
)
"""The authors' names of the six networks, one file each."""

_CONV = (2, 3, 1, 0)  # [out, in, height, width] to [height, width, in, out]
_TRANSPOSED = (2, 3, 0, 1)  # [in, out, height, width] to [height, width, in, out]

_UNET = {  # the authors' name: ours, input channels, output channels (in widths)
    "encoder.block2": ("encoder_2", 1, 2),
    "encoder.block3": ("encoder_3", 2, 4),
    "encoder.block4": ("encoder_4", 4, 4),
    "decoder.db1": ("decoder_3", 8, 4),
    "decoder.db2": ("decoder_2", 4, 2),
    "decoder.db3": ("decoder_1", 2, 1),
}
_UNET_UP = {
    "decoder.up1": ("up_3", 4, 4),
    "decoder.up2": ("up_2", 4, 2),
    "decoder.up3": ("up_1", 2, 1),
}
_RESTRICTION = {
    "encoder.block2": ("encoder_2", 1, 2),
    "encoder.block3": ("encoder_3", 2, 4),
    "decoder.db2": ("decoder_2", 2, 2),
    "decoder.db3": ("decoder_1", 1, 1),
}
_RESTRICTION_UP = {"decoder.up2": ("up_2", 4, 2), "decoder.up3": ("up_1", 2, 1)}


@dataclass(frozen=True)
class Entry:
    """One tensor: where it comes from, the shape it must have, where it goes, with which axes."""

    part: str
    name: str
    shape: tuple[float, ...]  # NaN where the files leave a size open
    path: tuple[str, ...]
    axes: tuple[int, ...]

    def fits(self, shape: Sequence[int]) -> bool:
        """Says whether a tensor of this shape can be the one."""
        pairs = list(zip(self.shape, shape, strict=False))
        return len(self.shape) == len(shape) and all(math.isnan(a) or a == b for a, b in pairs)


@dataclass(frozen=True)
class Sizes:
    """The sizes that a set of state dicts has; NaN where no tensor tells."""

    hiddens: float
    residual_hiddens: float
    layers: int
    code_dim: float
    num_codes: float
    restriction_width: float
    bottleneck: float
    unet_width: float


def read_sizes(files: Mapping[str, Mapping[str, np.ndarray]]) -> Sizes:
    """Reads each size off several tensors; the most frequent counts, so an odd one stands out."""

    def vote(axis: int, names: Iterable[str], *parts: str) -> float:
        places = [(part, name) for part in parts if part in files for name in names]
        shapes = [np.shape(files[part][name]) for part, name in places if name in files[part]]
        seen = Counter(shape[axis] for shape in shapes if len(shape) > axis)
        return seen.most_common(1)[0][0] if seen else math.nan

    autoencoder = "vq_model"
    books = ("_vq_vae_bot", "_vq_vae_top")
    stacks = ("_encoder_b", "_encoder_t", "_decoder_b")
    convs = ("_encoder_b._conv_2", "_encoder_b._conv_3", "_encoder_t._conv_1", "_decoder_b._conv_1")
    vectors = [f"{book}.{name}" for book in books for name in ("_embedding.weight", "_ema_w")]
    unet = [
        f"unet.{name}.bias" for name in ("encoder.block1.0", "encoder.block1.3", "decoder.db3.0")
    ]
    layers = Counter(_count_layers(files[autoencoder], stack) for stack in stacks).most_common(1)[
        0
    ][0]
    inner = [
        f"{stack}._residual_stack._layers.{i}._block.1.weight"
        for stack in stacks
        for i in range(layers)
    ]
    bottleneck = ["pre_vq_conv.bias", "upblock1.bias", "upblock2.bias"]
    return Sizes(
        hiddens=vote(0, [f"{name}.bias" for name in convs], autoencoder),
        residual_hiddens=vote(0, inner, autoencoder),
        layers=layers,
        code_dim=vote(1, vectors, autoencoder),
        num_codes=vote(0, vectors, autoencoder),
        restriction_width=vote(0, unet, "subspace_restriction_hi", "subspace_restriction_lo"),
        bottleneck=vote(0, bottleneck, "image_recon_module"),
        unet_width=vote(0, unet, "anomaly_det_module", "upsample_module"),
    )


def table(sizes: Sizes, parts: Iterable[str]) -> list[Entry]:
    """Lists every tensor of the given parts for a model of the given sizes."""
    builders = {
        "vq_model": _autoencoder,
        "subspace_restriction_hi": lambda s: _restriction(s, "hi"),
        "subspace_restriction_lo": lambda s: _restriction(s, "lo"),
        "image_recon_module": _object_decoder,
        "anomaly_det_module": lambda s: _unet(s, "anomaly_det_module", "detector", 6),
        "upsample_module": lambda s: _unet(s, "upsample_module", "upsampler", 8),
    }
    return [entry for part in parts for entry in builders[part](sizes)]


@dataclass(frozen=True)
class _Scope:
    """A network's place on both sides."""

    part: str
    path: tuple[str, ...]

    def conv(
        self,
        theirs: str,
        ours: str,
        size: int,
        channels: tuple[float, float],
        bias: bool = True,
        transposed: bool = False,
    ) -> Iterator[Entry]:
        path = ("params", *self.path, *ours.split("."))
        first, second = channels if transposed else channels[::-1]
        axes = _TRANSPOSED if transposed else _CONV
        shape = (first, second, size, size)
        yield Entry(self.part, f"{theirs}.weight", shape, (*path, "kernel"), axes)
        if bias:
            yield Entry(self.part, f"{theirs}.bias", (channels[1],), (*path, "bias"), (0,))

    def pair(self, theirs: str, ours: str, a: float, b: float, c: float) -> Iterator[Entry]:
        yield from self.conv(f"{theirs}.0", f"{ours}.conv_1", 3, (a, b))
        yield from self.conv(f"{theirs}.3", f"{ours}.conv_2", 3, (b, c))

    def stack(self, theirs: str, ours: str, sizes: Sizes) -> Iterator[Entry]:
        h, r = sizes.hiddens, sizes.residual_hiddens
        for i in range(sizes.layers):
            source, target = f"{theirs}._layers.{i}._block", f"{ours}.layer_{i}"
            yield from self.conv(f"{source}.1", f"{target}.conv_1", 3, (h, r), bias=False)
            yield from self.conv(f"{source}.3", f"{target}.conv_2", 1, (r, h), bias=False)


def _count_layers(tensors: Mapping[str, np.ndarray], stack: str) -> int:
    prefix = f"{stack}._residual_stack._layers."
    found = {name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)}
    return max(1, len(found))  # a number left out is then missing, and a larger one left over


def _autoencoder(sizes: Sizes) -> Iterator[Entry]:
    h, d, k = sizes.hiddens, sizes.code_dim, sizes.num_codes
    half = h / 2 if math.isnan(h) else h // 2
    scope = _Scope("vq_model", ("autoencoder",))
    yield from scope.conv("_encoder_b._conv_1", "encoder_hi.conv_1", 4, (3, half))
    yield from scope.conv("_encoder_b._conv_2", "encoder_hi.conv_2", 4, (half, h))
    yield from scope.conv("_encoder_b._conv_3", "encoder_hi.conv_3", 3, (h, h))
    yield from scope.stack("_encoder_b._residual_stack", "encoder_hi.residual_stack", sizes)
    yield from scope.conv("_encoder_t._conv_1", "encoder_lo.conv_1", 4, (h, h))
    yield from scope.conv("_encoder_t._conv_2", "encoder_lo.conv_2", 3, (h, h))
    yield from scope.stack("_encoder_t._residual_stack", "encoder_lo.residual_stack", sizes)
    yield from scope.conv("_pre_vq_conv_top", "pre_quantizer_lo", 1, (h, d))
    yield from scope.conv("_pre_vq_conv_bot", "pre_quantizer_hi", 1, (h + d, d))
    yield from scope.conv("upsample_t", "upsample_lo", 4, (d, d), transposed=True)
    yield from scope.conv("_decoder_b._conv_1", "general_decoder.conv_1", 3, (2 * d, h))
    yield from scope.stack("_decoder_b._residual_stack", "general_decoder.residual_stack", sizes)
    for i, channels in enumerate([(h, half), (half, 3)], 1):
        yield from scope.conv(
            f"_decoder_b._conv_trans_{i}",
            f"general_decoder.conv_transpose_{i}",
            4,
            channels,
            transposed=True,
        )
    for level, book in (("lo", "_vq_vae_top"), ("hi", "_vq_vae_bot")):
        path = ("codebook", "autoencoder", f"quantizer_{level}")
        yield Entry("vq_model", f"{book}._embedding.weight", (k, d), (*path, "codes"), (0, 1))
        yield Entry("vq_model", f"{book}._ema_cluster_size", (k,), (*path, "cluster_size"), (0,))
        yield Entry("vq_model", f"{book}._ema_w", (k, d), (*path, "ema_sum"), (0, 1))


def _restriction(sizes: Sizes, level: str) -> Iterator[Entry]:
    w, d = sizes.restriction_width, sizes.code_dim
    scope = _Scope(f"subspace_restriction_{level}", (f"restriction_{level}",))
    yield from scope.pair("unet.encoder.block1", "encoder_1", d, w, w)
    for theirs, (ours, a, b) in _RESTRICTION.items():
        yield from scope.pair(f"unet.{theirs}", ours, a * w, b * w, b * w)
    for theirs, (ours, a, b) in _RESTRICTION_UP.items():
        yield from scope.conv(f"unet.{theirs}.1", f"{ours}.conv_1", 3, (a * w, b * w))
    yield from scope.conv("unet.decoder.fin_out.0", "output", 3, (w, d))


def _object_decoder(sizes: Sizes) -> Iterator[Entry]:
    h, d, b = sizes.hiddens, sizes.code_dim, sizes.bottleneck
    half = h / 2 if math.isnan(h) else h // 2
    scope = _Scope("image_recon_module", ("object_decoder",))
    yield from scope.pair("block1", "block_1", 2 * d, 2 * d, 4 * d)
    yield from scope.pair("block2", "block_2", 4 * d, 4 * d, 8 * d)
    yield from scope.conv("pre_vq_conv", "bottleneck", 1, (8 * d, b))
    yield from scope.conv("upblock1", "conv_transpose_1", 4, (b, b), transposed=True)
    yield from scope.conv("upblock2", "conv_transpose_2", 4, (b, b), transposed=True)
    yield from scope.conv("_conv_1", "conv_1", 3, (b, h))
    yield from scope.stack("_residual_stack", "residual_stack", sizes)
    yield from scope.conv("_conv_trans_1", "conv_transpose_3", 4, (h, half), transposed=True)
    yield from scope.conv("_conv_trans_2", "conv_transpose_4", 4, (half, 3), transposed=True)


def _unet(sizes: Sizes, part: str, name: str, channels: int) -> Iterator[Entry]:
    w = sizes.unet_width
    scope = _Scope(part, (name,))
    yield from scope.pair("unet.encoder.block1", "encoder_1", channels, w, w)
    for theirs, (ours, a, b) in _UNET.items():
        yield from scope.pair(f"unet.{theirs}", ours, a * w, b * w, b * w)
    for theirs, (ours, a, b) in _UNET_UP.items():
        yield from scope.conv(f"unet.{theirs}.1", f"{ours}.conv_1", 3, (a * w, b * w))
    yield from scope.conv("unet.decoder.fin_out.0", "output", 3, (w, 2))
