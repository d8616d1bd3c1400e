"""Figures of maps and scores, by vqad's own metrics."""

import numpy as np
from scipy import ndimage

from vqad.evaluation.figures import draw, interval, resampled_image_figures
from vqad.evaluation.streaming import StreamingCurve, bin_scores


def pixel_figures(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """Pixel AP and AUROC of maps.

    Args:
      maps: float [n, h, w], not negative, of any size: only their order counts.
      masks: 0 and 1 [n, h, w].

    Returns:
      ``pixel_ap`` and ``pixel_auroc``, NaN without positives or negatives.
    """
    curve, bounded = StreamingCurve(), maps.max() <= 1
    for values, mask in zip(maps, masks, strict=True):
        # Into [0, 1) in the same order, as the curve wants its scores.
        curve.count(*bin_scores(values if bounded else values / (1 + values)), mask)
    figures = curve.figures(StreamingCurve())
    return {name: figures[name] for name in ("pixel_ap", "pixel_auroc")}


def image_auroc(scores: np.ndarray, defective: np.ndarray) -> float:
    """AUROC of image scores [n] against bool [n]."""
    once = np.ones((1, len(scores)), np.float32)
    return float(resampled_image_figures(scores, defective, once)["image_auroc"][0])


def image_auroc_interval(scores: np.ndarray, defective: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of ``image_auroc``, by resampling good and defective images."""
    rows = [np.flatnonzero(~defective), np.flatnonzero(defective)]
    kept = np.concatenate(rows)
    found = [
        resampled_image_figures(scores[kept], defective[kept], np.concatenate(weights, 1))
        for weights in draw([len(r) for r in rows], 1000)
    ]
    values = np.concatenate([figures["image_auroc"] for figures in found])
    return interval(float(values[0]), values) or (np.nan, np.nan)


def local_mean(maps: np.ndarray, window: int) -> np.ndarray:
    """What ``vqad.models.dsr.smooth`` computes, in time that does not grow with the window.

    Args:
      maps: float32 [n, h, w].
      window: odd side.

    Returns:
      float32 [n, h, w].
    """
    return ndimage.uniform_filter(maps, (1, window, window), mode="constant")


def effect_size(a: np.ndarray, b: np.ndarray) -> float:
    """Difference of means over the pooled deviation, the mean of both variances' root (Cohen's d).

    Args:
      a: floats of any shape; NaN are left out.
      b: the same, of another number.

    Returns:
      NaN with fewer than two numbers in either.
    """
    a, b = (values[np.isfinite(values)] for values in (np.asarray(a), np.asarray(b)))
    if min(len(a), len(b)) < 2:
        return np.nan
    pooled = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    return float((a.mean() - b.mean()) / pooled) if pooled > 0 else np.nan


def psnr(mean_squared_error: np.ndarray | float) -> np.ndarray:
    """PSNR in dB for a white of 1; infinite for no error."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mean_squared_error)
