"""Makes the fixtures in tests/data: `make_reference.py AUTHORS_DIR OUT`.

Needs PyTorch and, in AUTHORS_DIR, a checkout of the authors' PyTorch code (Apache-2.0),
github.com/VitjanZ/DSR_anomaly_detection. Writes to OUT six state dicts with seeded random weights,
named as the authors' checkpoints, the same as `weights.npz` for tests without PyTorch, and
`reference.npz`: what their networks and losses compute with them, in float32 and NCHW.

Their networks and focal loss are used as they are, except for the widths, and that residual blocks
are written out of place, since autograd refuses the in-place rectifier in some of these graphs. The
skip then carries the rectified input, as in the released code, so that the numbers are the same.
Their code replacement and Perlin noise draw their own random numbers; here they are written again
with the draws given: `uniform_*` in [0, 1) picks the rank `low + floor(u * (high - low))`;
`perlin_*_turns`, of shape `[cells down + 1, cells across + 1]`, are the gradients' angles in turns.
"""

import copy
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from make_reference_arrays import build, compute, distances, encode, load_authors, perlin

HIDDENS, RESIDUAL, LAYERS, DIM, CODES, BOTTLENECK, UNET = 8, 4, 3, 5, 32, 8, 3
BATCH, HEIGHT, WIDTH = 3, 64, 32
PERLIN_CELLS = [(1, 1), (2, 8), (16, 4), (32, 32)]
SEED = 38  # one that passes `check`


def randomise(nets, image):
    """Scales seeded weights so that features spread over the codes and images over their range."""
    model = nets["vq_model"]
    with torch.no_grad():
        for level, conv, book in (
            ("lo", model._pre_vq_conv_top, model._vq_vae_top),
            ("hi", model._pre_vq_conv_bot, model._vq_vae_bot),
        ):
            features = encode(model, image)[f"features_{level}"]
            mean, std = features.mean((0, 2, 3)), features.std((0, 2, 3))
            conv.weight /= std[:, None, None, None]
            conv.bias.sub_(mean).div_(std)
            book._ema_cluster_size.uniform_(1, 6)
            book._ema_w.copy_(book._embedding.weight * book._ema_cluster_size[:, None])
        for part in ("subspace_restriction_hi", "subspace_restriction_lo"):
            nets[part].unet.decoder.fin_out[0].weight *= 3
        # a calmer mask keeps the upsampler's numbers clear of rounding
        nets["anomaly_det_module"].unet.decoder.fin_out[0].weight /= 4
        for decoder in (model._decoder_b, nets["image_recon_module"]):
            decoder._conv_trans_2.weight *= 8


def narrow(object_decoder, width, dim, hiddens):
    """Gives the object decoder a bottleneck of another width than the authors' 64."""
    object_decoder.pre_vq_conv = torch.nn.Conv2d(8 * dim, width, 1)
    for name in ("upblock1", "upblock2"):
        setattr(object_decoder, name, torch.nn.ConvTranspose2d(width, width, 4, 2, 1))
    object_decoder._conv_1 = torch.nn.Conv2d(width, hiddens, 3, padding=1)


def draw():
    """The random numbers of stage 2: one image each with both levels, lo only and hi only."""
    cells = [(4, 2), (2, 4), (8, 4)]
    noise = [perlin(torch.rand(y + 1, x + 1).numpy(), HEIGHT, WIDTH) for y, x in cells]
    return {
        "anomaly_mask": (torch.tensor(np.stack(noise))[:, None] > 0.25).float(),
        "strength_lo": 0.2 + 0.8 * torch.rand(BATCH),
        "strength_hi": 0.2 + 0.8 * torch.rand(BATCH),
        "uniform_lo": torch.rand(BATCH, HEIGHT * WIDTH // 64),
        "uniform_hi": torch.rand(BATCH, HEIGHT * WIDTH // 16),
        "use_both": torch.tensor([1.0, 0.0, 0.0]),
        "use_lo": torch.tensor([0.0, 1.0, 0.0]),
    }


def check(nets, out):
    """Refuses arrays in which rounding could change a code, and degenerate ones."""
    books = {"lo": nets["vq_model"]._vq_vae_top, "hi": nets["vq_model"]._vq_vae_bot}
    books = {level: book._embedding.weight.detach().double() for level, book in books.items()}
    for name, level, rank in (
        ("features_lo", "lo", None),
        ("features_hi", "hi", None),
        ("restored_features_lo", "lo", None),
        ("restored_features_hi", "hi", None),
        ("features_hi_given_anomalous_lo", "hi", None),
        ("features_lo", "lo", "rank_lo"),
        ("features_hi", "hi", "rank_hi_only"),
        ("features_hi_given_anomalous_lo", "hi", "rank_hi"),
    ):
        features = out[name].double().permute(0, 2, 3, 1).flatten(0, 2)
        ordered = distances(features, books[level]).sort(dim=1).values
        at = torch.zeros(len(features), 1, dtype=int) if rank is None else out[rank].reshape(-1, 1)
        gap = ordered.diff(dim=1)
        gap = torch.minimum(gap.gather(1, at), gap.gather(1, (at - 1).clamp(min=0)))
        scale = (features**2).sum(1, keepdim=True) + ordered.gather(1, at)
        smallest = (gap / scale).min().item()
        print(f"{name} {rank or 'nearest'}: smallest relative gap {smallest:.1e}")
        if smallest < (1e-4 if rank is None else 1e-5):
            raise SystemExit(f"{name}: two codes are too close to tell apart; change SEED")
    for level in books:
        used = len(out[f"codes_{level}"].unique())
        print(f"{used} of {CODES} codes used, level {level}")
        if used < CODES // 3 or out["anomaly_mask"].mean((1, 2, 3)).min() < 0.02:
            raise SystemExit("degenerate weights or masks; change SEED")


def check_rounding(code, nets, image, draws, out):
    """Refuses arrays that float64 gives otherwise: no other program could reproduce them.

    Not asked of biases that an instance norm removes: their true gradient is zero.
    """
    torch.set_default_dtype(torch.float64)
    nets = {part: net.double() for part, net in nets.items()}
    draws = {name: value.double() for name, value in draws.items()}
    exact = compute(code, nets, image.double(), draws)
    torch.set_default_dtype(torch.float32)
    worst = {"_grad/": 0.0, "": 0.0}
    for name, value in exact.items():
        kind = "_grad/" if "_grad/" in name else ""
        largest = value.abs().max().item()
        if not (name.endswith("bias") and kind and largest < 1e-9):
            error = (value - out[name]).abs().max().item() / largest
            worst[kind] = max(worst[kind], error)
    print(f"float32 against float64: values {worst['']:.1e}, gradients {worst['_grad/']:.1e}")
    if worst[""] > 1e-5 or worst["_grad/"] > 3e-5:
        raise SystemExit("rounding decides these numbers; change SEED")


def main(authors, out_dir):
    """Writes the weights and the arrays."""
    torch.manual_seed(SEED)
    code = load_authors(authors)
    nets = build(code, HIDDENS, RESIDUAL, LAYERS, DIM, CODES, UNET)
    narrow(nets["image_recon_module"], BOTTLENECK, DIM, HIDDENS)
    image = F.interpolate(torch.rand(BATCH, 3, HEIGHT // 4, WIDTH // 4), scale_factor=4)
    image = 0.7 * image + 0.3 * torch.rand(BATCH, 3, HEIGHT, WIDTH)
    image = (image * 255).round() / 255
    randomise(nets, image)
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    for part, net in nets.items():
        name = f"vq_model_pretrained_{DIM}_{CODES}" if part == "vq_model" else f"dsr_{part}_object"
        torch.save(net.state_dict(), out_dir / f"{name}.pckl")
    weights = {
        f"{part}/{name}": tensor.numpy()
        for part, net in nets.items()
        for name, tensor in net.state_dict().items()
    }
    np.savez_compressed(out_dir / "weights.npz", **weights)
    draws, before = draw(), copy.deepcopy(nets)
    out = compute(code, nets, image, draws)
    check(before, out)
    check_rounding(code, before, image, draws, out)
    arrays = {name: value.detach().numpy() for name, value in out.items()}
    for i, (y, x) in enumerate(PERLIN_CELLS):
        turns = torch.rand(y + 1, x + 1).numpy()
        arrays |= {f"perlin_{i}_turns": turns, f"perlin_{i}_noise": perlin(turns, HEIGHT, WIDTH)}
    np.savez_compressed(out_dir / "reference.npz", **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
