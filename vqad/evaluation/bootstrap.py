"""Intervals of 95 % by resampling images: how far figures would move with other test images.

Images are drawn with replacement within their class, so that a resample has as many of each class.
Image figures are computed anew from each resample. For pixel figures an image is a histogram of
`COARSE_BINS` bins (3 kB, 12 kB if defective), and a resample a product of its weights with all of
them: exact resampling of images, of figures at a coarser resolution. The percentiles are therefore
moved by what a figure of the whole set differs from its coarse one.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from vqad.evaluation.metrics import image_figures, pixel_figures

_SEED = 0
_PART = 50  # resamples at a time; 4 MB an array of 10,000 images


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
