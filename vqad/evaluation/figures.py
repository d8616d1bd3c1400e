"""Figures of a test split, overall and per class, with their intervals, by protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vqad.evaluation.bootstrap import (
    draw,
    interval,
    resampled_image_figures,
    resampled_pixel_figures,
)
from vqad.evaluation.streaming import StreamingCurve

RESIZED, CROP = 256, 224  # the paper's sides


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
