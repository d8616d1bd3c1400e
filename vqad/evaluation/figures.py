"""Figures of a test split, overall and per class, with their intervals, by protocol.

Intervals of 95 % are from resampled images: how far figures would move with other test images.
Images are drawn with replacement within their class, so that a resample has as many of each class.
Image figures are computed anew from each resample. For pixel figures an image is a histogram of
`COARSE_BINS` bins (3 kB, 12 kB if defective), and a resample a product of its weights with all of
them: exact resampling of images, of figures at a coarser resolution. The percentiles are therefore
moved by what a figure of the whole set differs from its coarse one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vqad.evaluation.metrics import image_figures, pixel_figures
from vqad.evaluation.streaming import StreamingCurve

_SEED = 0
_PART = 50  # resamples at a time; 4 MB an array of 10,000 images
RESIZED, CROP = 256, 224  # the paper's sides


def draw(sizes: Sequence[int], resamples: int) -> Iterator[list[np.ndarray]]:
    """Draws resamples of classes of these sizes, the same ones each time, in parts.

    Yields for each class float32 [b, size], how often each image is in each of b resamples. The
    first part has one row, all images once, which is no resample.
    """
    random = np.random.default_rng(_SEED)
    yield [np.ones((1, size), np.float32) for size in sizes]
    for start in range(0, resamples, _PART):
        rows = min(_PART, resamples - start)
        part = []
        for size in sizes:
            drawn = random.integers(0, max(size, 1), (rows, size))
            drawn += np.arange(rows)[:, None] * size
            counts = np.bincount(drawn.ravel(), minlength=rows * size)
            part.append(counts.reshape(rows, size).astype(np.float32))
        yield part


def resampled_image_figures(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Image figures of resamples; scores and labels [n], weights [b, n], figures [b]."""
    order = np.argsort(scores)
    scores, labels, weights = scores[order], labels[order], weights[:, order].astype(np.float64)
    starts = np.flatnonzero(np.diff(scores, prepend=-np.inf))
    return image_figures(
        *(np.add.reduceat(weights * kept, starts, axis=1) for kept in (~labels, labels))
    )


def resampled_pixel_figures(counts: np.ndarray, good: np.ndarray) -> dict[str, np.ndarray]:
    """Pixel figures [b] of resamples, from sums of `StreamingCurve.resample`; good is [b, bins]."""
    filled = counts[:2].any((0, 1)) | good.any(0)
    every = np.ones(int(filled.sum()), bool)
    return pixel_figures(*counts[..., filled], good[:, filled], every)


def interval(figure: float, values: np.ndarray) -> tuple[float, float] | None:
    """The interval of 95 % of a figure: its ends in [0, 1] to four digits.

    The values [1 + resamples] are that of the whole set at the resamples' resolution, and theirs.
    It is None if the figure, or that of every resample, is NaN.
    """
    resampled = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(figure) or not resampled.size:
        return None
    ends = np.quantile(resampled, (0.025, 0.975)) + (figure - values[0])
    low, high = np.clip(ends, 0, 1).round(4)
    return float(low), float(high)


@dataclass(frozen=True)
class Figures:
    """What one set of images scored. A figure is None where positives or negatives are lacking.

    Attributes:
        image_auroc, image_ap, image_f1max: of image scores, exact.
        image_recall_at_1, image_recall_at_5: share of the defective images found by the lowest
            threshold that raises at most 1 % or 5 % of the good ones.
        pixel_auroc, pixel_ap, pixel_f1max: of the pixel maps, from `StreamingCurve`.
        pixel_aupro: overlap of regions, up to a false positive rate of 30 %.
        pixel_aupimo: recall per image, at false positive rates of 1e-5 to 1e-4 on good images.
        images: number of images; for a defect class, of that class alone.
        intervals: of each figure the interval of 95 %, or None.
    """

    image_auroc: float | None
    image_ap: float | None
    image_f1max: float | None
    image_recall_at_1: float | None
    image_recall_at_5: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    pixel_f1max: float | None
    pixel_aupro: float | None
    pixel_aupimo: float | None
    images: int
    intervals: dict[str, tuple[float, float] | None]


@dataclass(frozen=True)
class Protocol:
    """Figures of the whole test split and of each defect class against all good images."""

    overall: Figures
    classes: dict[str, Figures]


def centre(shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """The paper's centre crop; None unless the image has the paper's size."""
    if tuple(shape) != (RESIZED, RESIZED):
        return None
    inside = slice((RESIZED - CROP) // 2, (RESIZED + CROP) // 2)
    return inside, inside


def evaluate_protocols(
    scores: np.ndarray,
    class_ids: np.ndarray,
    protocols: Sequence[Sequence[StreamingCurve]],
    classes: Sequence[str],
    resamples: int,
) -> list[Protocol]:
    """Figures of each protocol, all from the same resamples of images.

    Of n images, scores are [n], class ids int [n] (0 is good), and a protocol is a curve of each
    class, which has counted their pixels in their order. A thousand resamples of 10,000 images with
    two defect classes take two protocols 10 s of CPU.
    """
    labels = class_ids > 0
    rows = [np.flatnonzero(class_ids == c) for c in range(len(classes))]
    sets = [list(range(len(classes))), *([0, c] for c in range(1, len(classes)))]
    set_rows = [np.concatenate([rows[c] for c in members]) for members in sets]
    parts: list[list[list[dict]]] = [[[] for _ in sets] for _ in protocols]
    for weights in draw([len(r) for r in rows], resamples):
        counted = [
            [curve.resample(w) for curve, w in zip(curves, weights, strict=True)]
            for curves in protocols
        ]
        for s, members in enumerate(sets):
            kept, own = set_rows[s], np.concatenate([weights[c] for c in members], 1)
            of_images = resampled_image_figures(scores[kept], labels[kept], own)
            for p, counts in enumerate(counted):
                of_pixels = resampled_pixel_figures(sum(counts[c] for c in members), counts[0][0])
                parts[p][s].append(of_images | of_pixels)

    def figures(p: int, s: int) -> Figures:
        curve = sum((protocols[p][c] for c in sets[s]), StreamingCurve())
        # Of the first part, all images once, image figures are exact, and pixel figures coarse.
        values = {name: float(value[0]) for name, value in parts[p][s][0].items()}
        values |= curve.figures(protocols[p][0])
        return Figures(
            **{name: value if np.isfinite(value) else None for name, value in values.items()},
            images=int(set_rows[s].size if s == 0 else rows[s].size),
            intervals={
                name: interval(value, np.concatenate([part[name] for part in parts[p][s]]))
                for name, value in values.items()
            },
        )

    return [
        Protocol(figures(p, 0), {classes[c]: figures(p, c) for c in range(1, len(classes))})
        for p in range(len(protocols))
    ]
