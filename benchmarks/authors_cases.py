"""The authors' side of the duel: python benchmarks/authors_cases.py CASE WORKLOAD DIR.

Their training functions run as they are, found in DIR, with what keeps them from running on a CPU
or on a current NumPy replaced: ``.cuda()`` does nothing without a GPU, their pretrained file is a
fresh network, images are resized to the workload's side, their residual blocks rectify out of place
(in place, PyTorch cannot differentiate them), and a step of their optimizer paces the measurement.
Stage 1, for which they have no training, is their network, its three losses and Adam.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from pacer import Pacer
from workload import Workload


def _prepare(directory: str) -> None:
    sys.path.insert(0, directory)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if not hasattr(np, "sctypes"):  # imgaug was written for NumPy 1
        np.sctypes = {  # noqa: NPY201
            "float": [np.float16, np.float32, np.float64],
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
        }
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *_, **__: self
        torch.nn.Module.cuda = lambda self, *_, **__: self

    import discrete_model
    import dsr_model

    def residual(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x)
        _, first, _, second = self._block
        return x + second(torch.relu(first(x)))

    dsr_model.Residual.forward = discrete_model.Residual.forward = residual


def _autoencoder(work: Workload) -> torch.nn.Module:
    from discrete_model import DiscreteLatentModel

    return DiscreteLatentModel(128, 2, 64, work.num_codes, 128, 0.25, 0.99).cuda()


def _pace_optimizer(pacer: Pacer) -> None:
    plain = torch.optim.Adam.step

    def step(self: torch.optim.Adam, *args: Any, **options: Any) -> None:
        plain(self, *args, **options)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        pacer.tick()

    torch.optim.Adam.step = step


class _OneBatch:
    """Stands for a DataLoader: its first batch, again and again."""

    def __init__(self, dataset: Any, batch_size: int, **_: Any) -> None:
        from torch.utils.data import default_collate

        self._batch = default_collate([dataset[i] for i in range(batch_size)])

    def __iter__(self) -> Iterator[dict]:
        return itertools.repeat(self._batch)


def train(pacer: Pacer, work: Workload, name: str, loading: bool) -> None:
    """Steps of a stage, on one batch or with their loader."""
    import data_loader
    import train_dsr
    from torch.utils.data import DataLoader

    def resized(dataset: type) -> Callable[..., Any]:
        return lambda root, resize_shape, **options: dataset(
            root, [work.side, work.side], **options
        )

    train_dsr.TrainWholeImageDataset = resized(data_loader.TrainWholeImageDataset)
    train_dsr.MVTecImageAnomTrainDataset = resized(data_loader.MVTecImageAnomTrainDataset)
    train_dsr.DataLoader = DataLoader if loading else _OneBatch
    _pace_optimizer(pacer)
    root = os.path.dirname(work.surface.rstrip("/")) + "/"
    surface = os.path.basename(work.surface.rstrip("/"))
    with torch.autocast(
        "cuda" if torch.cuda.is_available() else "cpu",
        torch.bfloat16,
        enabled=work.dtype == "bfloat16",
    ):
        if name == "stage1":
            _train_stage1(work, train_dsr.DataLoader)
        elif name == "stage2":
            torch.load = lambda *_, **__: _autoencoder(work).state_dict()
            plain = train_dsr.DiscreteLatentModel
            train_dsr.DiscreteLatentModel = lambda h, n, r, _, d, *rest: plain(
                h, n, r, work.num_codes, d, *rest
            )
            train_dsr.train_on_device([surface], root, "", 2e-4, work.batch, 10**6)
        else:
            train_dsr.train_upsampling_module(
                _autoencoder(work), *_parts(), surface, root, "", 2e-4, work.batch, 10**6, 0.2
            )


def _train_stage1(work: Workload, loader: type) -> None:
    import data_loader

    model = _autoencoder(work).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
    dataset = data_loader.TrainImageOnlyDataset(work.pictures, [work.side, work.side])
    while True:
        for batch in loader(dataset, batch_size=work.batch, shuffle=True, num_workers=8):
            image = batch["image"].cuda()
            optimizer.zero_grad()
            loss_b, loss_t, reconstruction, _, _ = model(image)
            loss = loss_b + loss_t + torch.nn.functional.mse_loss(reconstruction, image)
            loss.backward()
            optimizer.step()


def _parts() -> tuple:
    from dsr_model import (
        AnomalyDetectionModule,
        ImageReconstructionNetwork,
        SubspaceRestrictionModule,
    )

    return (
        SubspaceRestrictionModule(128).cuda(),
        SubspaceRestrictionModule(128).cuda(),
        ImageReconstructionNetwork(256, 128, 2, 64).cuda(),
        AnomalyDetectionModule(128).cuda(),
    )


def infer(pacer: Pacer, work: Workload) -> None:
    """Masks and scores of a batch, in the order of their test script."""
    from dsr_model import UpsamplingModule

    model = _autoencoder(work).eval()
    hi, lo, decoder, detector = (part.eval() for part in _parts())
    upsampler = UpsamplingModule(128).cuda().eval()
    image = torch.rand(work.batch, 3, work.side, work.side).cuda()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    while True:
        with (
            torch.no_grad(),
            torch.autocast(device, torch.bfloat16, enabled=work.dtype == "bfloat16"),
        ):
            _, _, general, codes_lo, codes_hi = model(image)
            _, restored_hi, _ = hi(codes_hi, model._vq_vae_bot)
            _, restored_lo, _ = lo(codes_lo, model._vq_vae_top)
            specific = decoder(torch.cat((model.upsample_t(restored_lo), restored_hi), 1))
            mask = torch.softmax(detector(specific, general), 1)
            torch.softmax(upsampler(specific, general, mask), 1)
            smooth = torch.nn.functional.avg_pool2d(mask[:, 1:], 21, stride=1, padding=10)
            smooth.amax((1, 2, 3)).cpu()
        pacer.tick()


def draw(pacer: Pacer, work: Workload) -> None:
    """Masks and feature anomalies as their stage 2 draws them: lo once, hi twice."""
    import data_loader
    from train_dsr import generate_fake_anomalies_joined

    model = _autoencoder(work).eval()
    dataset = data_loader.TrainWholeImageDataset(
        work.surface + "/train/good/", [work.side, work.side], perlin_augment=True
    )
    image = torch.rand(work.batch, 3, work.side, work.side).cuda()
    with torch.no_grad():
        hidden = model._encoder_b(image)
        features_lo = model._pre_vq_conv_top(model._encoder_t(hidden))
        codes_lo = model._vq_vae_top(features_lo)[1]
        features_hi = model._pre_vq_conv_bot(torch.cat((hidden, model.upsample_t(codes_lo)), 1))
        codes_hi = model._vq_vae_bot(features_hi)[1]
        books = model._vq_vae_top._embedding.weight, model._vq_vae_bot._embedding.weight
        while True:
            mask = torch.stack([dataset[i]["mask"] for i in range(work.batch)]).cuda()
            strength = torch.rand(work.batch) * 0.8 + 0.2
            for features, codes, book in (
                (features_lo, codes_lo, books[0]),
                (features_hi, codes_hi, books[1]),
                (features_hi, codes_hi, books[1]),
            ):
                generate_fake_anomalies_joined(features, codes, book, mask, strength=strength)
            pacer.tick()


def main() -> None:
    """Runs the case that the command line names."""
    case, work, directory = sys.argv[1], Workload.from_json(sys.argv[2]), sys.argv[3]
    pacer = Pacer()
    _prepare(directory)
    if case.startswith("stage"):
        name, _, loading = case.partition("+")
        train(pacer, work, name, bool(loading))
    else:
        {"inference": infer, "anomalies": draw}[case](pacer, work)


if __name__ == "__main__":
    main()
