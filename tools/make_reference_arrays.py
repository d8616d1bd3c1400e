"""What the authors' PyTorch networks and losses compute: the arrays of `make_reference.py`."""

import importlib
import math
import sys
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F


def load_authors(directory):
    """Imports the authors' modules and returns the names that are used here."""
    sys.path.insert(0, str(directory))
    dsr = importlib.import_module("dsr_model")
    discrete = importlib.import_module("discrete_model")

    def forward(block, x):
        x = F.relu(x)
        convs = [layer for layer in block._block if isinstance(layer, torch.nn.Conv2d)]
        return x + convs[1](F.relu(convs[0](x)))

    dsr.Residual.forward = forward
    discrete.Residual.forward = forward
    focal = importlib.import_module("loss").FocalLoss()
    return SimpleNamespace(dsr=dsr, discrete=discrete, focal=focal)


def build(code, hiddens, residual, layers, dim, codes, unet):
    """Builds the six networks, by the names of their files."""
    object_decoder = code.dsr.ImageReconstructionNetwork(2 * dim, hiddens, layers, residual)
    detector = code.dsr.AnomalyDetectionModule()
    detector.unet = code.dsr.UnetModel(6, 2, unet)
    upsampler = code.dsr.UpsamplingModule()
    upsampler.unet = code.dsr.UnetModel(8, 2, unet)
    nets = {
        "vq_model": code.discrete.DiscreteLatentModel(
            hiddens, layers, residual, codes, dim, 0.25, 0.99
        ),
        "subspace_restriction_hi": code.dsr.SubspaceRestrictionModule(dim),
        "subspace_restriction_lo": code.dsr.SubspaceRestrictionModule(dim),
        "image_recon_module": object_decoder,
        "anomaly_det_module": detector,
        "upsample_module": upsampler,
    }
    for net in nets.values():
        net.eval()
    return nets


def distances(features, codes):
    """Squared distances as the authors expand them: [n, d] and [codes, d] to [n, codes]."""
    return (features**2).sum(1, keepdim=True) + (codes**2).sum(1) - 2 * features @ codes.T


def replace_codes(features, quantized, codes, mask, strength, uniform):
    """Replaces masked codes by distant ones: the authors' rule, with the draws given."""
    replaced, ranks = torch.zeros_like(quantized), []
    low = int(0.05 * len(codes))
    for k, image in enumerate(features.permute(0, 2, 3, 1).contiguous().flatten(1, 2)):
        high = max(1, min(int(strength[k] * len(codes)) + 1, len(codes) - 1))
        rank = low + (uniform[k] * (high - low)).floor().long()
        order = distances(image, codes).topk(high, dim=1, largest=False).indices
        chosen = codes[order.gather(1, rank[:, None])[:, 0]]
        replaced[k] = chosen.T.reshape(replaced[k].shape)
        ranks.append(rank)
    down = F.max_pool2d(
        mask, (mask.shape[2] // quantized.shape[2], mask.shape[3] // quantized.shape[3])
    )
    return down * replaced + (1 - down) * quantized, torch.stack(ranks)


def encode(model, image):
    """All that the discrete autoencoder computes before decoding."""
    out = {"encoder_hi": model._encoder_b(image)}
    out["encoder_lo"] = model._encoder_t(out["encoder_hi"])
    out["features_lo"] = model._pre_vq_conv_top(out["encoder_lo"])
    out["loss_lo"], out["quantized_lo"], out["perplexity_lo"], hot_lo = model._vq_vae_top(
        out["features_lo"]
    )
    out["upsampled_lo"] = model.upsample_t(out["quantized_lo"])
    joined = torch.cat((out["encoder_hi"], out["upsampled_lo"]), 1)
    out["features_hi"] = model._pre_vq_conv_bot(joined)
    out["loss_hi"], out["quantized_hi"], out["perplexity_hi"], hot_hi = model._vq_vae_bot(
        out["features_hi"]
    )
    for level, hot in (("lo", hot_lo), ("hi", hot_hi)):
        shape = out[f"features_{level}"].shape
        out[f"codes_{level}"] = hot.argmax(1).reshape(shape[0], *shape[2:])
    return out


def decode(model, quantized_lo, quantized_hi):
    """I_gen from codes."""
    return model._decoder_b(torch.cat((model.upsample_t(quantized_lo), quantized_hi), 1))


def restore(nets, quantized_lo, quantized_hi):
    """Restored features and codes of both levels, and I_spc."""
    model, out = nets["vq_model"], {}
    for level, quantized, book in (
        ("hi", quantized_hi, model._vq_vae_bot),
        ("lo", quantized_lo, model._vq_vae_top),
    ):
        restored, codes, _ = nets[f"subspace_restriction_{level}"](quantized, book)
        out[f"restored_features_{level}"], out[f"restored_quantized_{level}"] = restored, codes
    up = model.upsample_t(out["restored_quantized_lo"])
    joined = torch.cat((up, out["restored_quantized_hi"]), 1)
    out["specific_image"] = nets["image_recon_module"](joined)
    return out


def infer(nets, image):
    """Every array of inference."""
    out = encode(nets["vq_model"], image)
    out["general_image"] = decode(nets["vq_model"], out["quantized_lo"], out["quantized_hi"])
    out |= restore(nets, out["quantized_lo"], out["quantized_hi"])
    images = out["specific_image"], out["general_image"]
    out["detector_logits"] = nets["anomaly_det_module"](*images)
    out["detector_mask"] = out["detector_logits"].softmax(1)
    out["upsampler_logits"] = nets["upsample_module"](*images, out["detector_mask"])
    out["upsampled_mask"] = out["upsampler_logits"].softmax(1)
    out["smoothed_mask"] = F.avg_pool2d(out["detector_mask"][:, 1:], 21, stride=1, padding=10)
    out["image_score"] = out["smoothed_mask"].amax((1, 2, 3))
    del out["loss_lo"], out["loss_hi"]
    return out


def gradients(prefix, net):
    """Gradients of a network's parameters, under their names; then clears them."""
    found = {f"{prefix}/{name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    return found


def stage_one(model, image):
    """Losses and gradients of a stage-1 step, and the codebooks after it; changes the model."""
    model.train()
    coded = encode(model, image)
    general = decode_trained(model, coded)
    out = {
        "stage1_commitment_hi": coded["loss_hi"],
        "stage1_commitment_lo": coded["loss_lo"],
        "stage1_reconstruction": F.mse_loss(general, image),
    }
    out["stage1_total"] = sum(out.values())
    out["stage1_total"].backward()
    out |= gradients("stage1_grad", model)
    for level, book in (("lo", model._vq_vae_top), ("hi", model._vq_vae_bot)):
        out[f"stage1_after_{level}_codebook"] = book._embedding.weight
        out[f"stage1_after_{level}_cluster_size"] = book._ema_cluster_size
        out[f"stage1_after_{level}_ema_sum"] = book._ema_w
    model.eval()
    return out


def decode_trained(model, coded):
    """I_gen with the gradient through the upsampled codes that `encode` already made."""
    return model._decoder_b(torch.cat((coded["upsampled_lo"], coded["quantized_hi"]), 1))


def disturb(model, image, draws):
    """Feature anomalies from given draws, and the target mask."""
    mask, both, lo = (
        draws["anomaly_mask"],
        *(draws[name][:, None, None, None] for name in ("use_both", "use_lo")),
    )
    coded, out = encode(model, image), {}
    book_lo, book_hi = model._vq_vae_top._embedding.weight, model._vq_vae_bot._embedding.weight
    q_lo, q_hi, f_hi = coded["quantized_lo"], coded["quantized_hi"], coded["features_hi"]
    hi_draws = draws["strength_hi"], draws["uniform_hi"]
    out["anomalous_lo"], out["rank_lo"] = replace_codes(
        coded["features_lo"], q_lo, book_lo, mask, draws["strength_lo"], draws["uniform_lo"]
    )
    joined = torch.cat((coded["encoder_hi"], model.upsample_t(out["anomalous_lo"])), 1)
    out["features_hi_given_anomalous_lo"] = model._pre_vq_conv_bot(joined)
    _, again, _, _ = model._vq_vae_bot(out["features_hi_given_anomalous_lo"])
    out["quantized_hi_given_anomalous_lo"] = again
    out["anomalous_hi"], out["rank_hi"] = replace_codes(
        out["features_hi_given_anomalous_lo"], again, book_hi, mask, *hi_draws
    )
    out["anomalous_hi_only"], out["rank_hi_only"] = replace_codes(
        f_hi, q_hi, book_hi, mask, *hi_draws
    )
    one_lo = lo * out["anomalous_lo"] + (1 - lo) * q_lo
    one_hi = lo * q_hi + (1 - lo) * out["anomalous_hi_only"]
    out["mixed_lo"] = both * out["anomalous_lo"] + (1 - both) * one_lo
    out["mixed_hi"] = both * out["anomalous_hi"] + (1 - both) * one_hi
    masks = {}
    for level, grid in (("lo", q_lo), ("hi", q_hi)):
        ratio = mask.shape[3] // grid.shape[3]
        masks[level] = F.interpolate(F.max_pool2d(mask, ratio), scale_factor=ratio)
    out["target_mask"] = both * masks["lo"] + (1 - both) * (
        lo * masks["lo"] + (1 - lo) * masks["hi"]
    )
    return out, q_lo, q_hi


def stage_two(code, nets, image, draws):
    """The feature anomalies, losses and gradients of stage 2."""
    model = nets["vq_model"]
    with torch.no_grad():
        out, q_lo, q_hi = disturb(model, image, draws)
    restored = restore(nets, out["mixed_lo"], out["mixed_hi"])
    general = decode(model, out["mixed_lo"], out["mixed_hi"])
    specific = restored["specific_image"]
    mask = nets["anomaly_det_module"](specific.detach(), general.detach()).softmax(1)
    out |= {"stage2_general_image": general, "stage2_specific_image": specific, "stage2_mask": mask}
    losses = {
        "stage2_subspace_hi": F.mse_loss(restored["restored_features_hi"], q_hi),
        "stage2_subspace_lo": F.mse_loss(restored["restored_features_lo"], q_lo),
        "stage2_image": F.mse_loss(image, specific),
        "stage2_focal": code.focal(mask, out["target_mask"]),
    }
    hi, lo, spec, focal = losses.values()
    losses["stage2_total"] = focal + lo + hi + 10 * spec
    losses["stage2_total"].backward()
    model.zero_grad()
    return (
        out
        | losses
        | {
            name: grad
            for prefix, part in (
                ("lo", "subspace_restriction_lo"),
                ("hi", "subspace_restriction_hi"),
                ("spec", "image_recon_module"),
                ("det", "anomaly_det_module"),
            )
            for name, grad in gradients(f"stage2_grad/{prefix}", nets[part]).items()
        }
    )


def stage_three(code, nets, image, mask):
    """Loss and gradients of stage 3 for an image whose smudges are `mask`."""
    with torch.no_grad():
        known = infer(nets, image)
    images = known["specific_image"], known["general_image"]
    upsampled = nets["upsample_module"](*images, known["detector_mask"]).softmax(1)
    loss = code.focal(upsampled, mask)
    loss.backward()
    out = {"stage3_mask": upsampled, "stage3_focal": loss}
    return out | gradients("stage3_grad", nets["upsample_module"])


def perlin(turns, height, width):
    """Perlin noise on a height x width grid; turns [cells down + 1, cells across + 1]."""
    cells = np.array(turns.shape) - 1
    y, x = (np.arange(n) * c / n for n, c in zip((height, width), cells, strict=True))
    row, column = np.floor(y).astype(int), np.floor(x).astype(int)
    dy, dx = (y - row)[:, None], (x - column)[None, :]
    angles = 2 * math.pi * turns.astype(np.float64)

    def corner(down, across):
        angle = angles[np.ix_(row + down, column + across)]
        return np.cos(angle) * (dy - down) + np.sin(angle) * (dx - across)

    def fade(t):
        return t**3 * (t * (6 * t - 15) + 10)

    left = corner(0, 0) + fade(dy) * (corner(1, 0) - corner(0, 0))
    right = corner(0, 1) + fade(dy) * (corner(1, 1) - corner(0, 1))
    return (math.sqrt(2) * (left + fade(dx) * (right - left))).astype(np.float32)


def compute(code, nets, image, draws):
    """Everything that `reference.npz` holds, as tensors, except the Perlin noise."""
    with torch.no_grad():
        out = {"image": image} | infer(nets, image)
    out |= draws
    out |= stage_two(code, nets, image, draws)
    out |= stage_three(code, nets, image, draws["anomaly_mask"])
    return out | stage_one(nets["vq_model"], image)
