"""Figures of how well scores tell anomalous from good, from counts per value of the score.

Counts stand in rising order of the score on the last axis; equal scores are tied, as in
scikit-learn. Leading axes are free: one for resamples costs no loop. A figure needs positives and
negatives; without either it is NaN here and None where a figure is given out.
"""

from collections.abc import Callable, Mapping

import numpy as np

FALSE_ALARMS = (0.01, 0.05)  # of good images, where their recall is read off
AUPRO_LIMIT = 0.3
AUPIMO_BOUNDS = (1e-5, 1e-4)


def _from_above(counts: np.ndarray) -> np.ndarray:
    """How many are at or above each value, float64."""
    return np.cumsum(counts[..., ::-1], -1, dtype=np.float64)[..., ::-1]


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divides; 0 where the whole is 0 and so the part."""
    return part / np.where(whole == 0, 1, whole)


def _harmonic(n: np.ndarray) -> np.ndarray:
    """Sum of 1 / k for k = 1 .. n, by its asymptotic series."""
    n_ = np.maximum(n, 1.0)
    series = np.log(n_) + np.euler_gamma + 1 / (2 * n_) - 1 / (12 * n_**2) + 1 / (120 * n_**4)
    return np.where(n > 0, series, 0.0)


def _of_thresholds(
    negatives: np.ndarray, positives: np.ndarray, mixed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area under the ROC curve, mean precision at the positives, and largest F1 of any threshold.

    Within one value the ROC curve runs straight. Scores of one place are tied, but in a mixed place
    (a bin of several values; bool [n]) they stand in unknown order: of precision the mean over all
    orders is taken there. Tying them as well would bias the sum by the bins' width.
    """
    total = negatives.sum(-1, keepdims=True, dtype=np.float64)
    defects = positives.sum(-1, keepdims=True)
    below = total - _from_above(negatives) + negatives / 2
    area = _divide((positives * below).sum(-1), (total * defects)[..., 0])
    found, raised = _from_above(positives), _from_above(positives + negatives)
    f1 = _divide(2 * found, raised + defects).max(-1, initial=0)
    summed = (positives * _divide(found, raised))[..., ~mixed].sum(-1)
    if mixed.any():
        # At place j of n, a positive has on average 1 + (j - 1) rate of the bin's positives above
        # or at it: sum (found_above + 1 + (j - 1) rate) / (raised_above + j) over j, a harmonic sum
        here, found, raised = positives[..., mixed], found[..., mixed], raised[..., mixed]
        n = here + negatives[..., mixed]
        rate = np.where(n > 1, (here - 1) / np.maximum(n - 1, 1), 0)
        places = _harmonic(raised) - _harmonic(raised - n)
        precisions = n * rate + (found - here + 1 - rate - rate * (raised - n)) * places
        summed = summed + (_divide(here, n) * precisions).sum(-1)
    return area, _divide(summed, defects[..., 0]), f1


def _mean_recall(
    negatives: np.ndarray,
    weights: np.ndarray,
    bounds: tuple[float, float],
    scale: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """Mean share of the positives' weights found, over rates of false alarms between the bounds.

    Within one value, rate and recall run straight. The mean is over `scale` of the rate.
    """
    total, total_weight = negatives.sum(-1, keepdims=True), weights.sum(-1, keepdims=True)
    step, gain = _divide(negatives, total), _divide(weights, total_weight)
    after = _divide(_from_above(negatives), total)
    found = _divide(_from_above(weights), total_weight)
    before = after - step
    from_, to = np.clip(before, *bounds), np.clip(after, *bounds)
    recalls = found - gain + gain * _divide((from_ + to) / 2 - before, step)
    area = np.where(to > from_, (scale(to) - scale(from_)) * recalls, 0).sum(-1)
    return np.minimum(area / (scale(bounds[1]) - scale(bounds[0])), 1)  # rounding may pass 1


def image_figures(negatives: np.ndarray, positives: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of image scores, from counts [..., n] of good and of defective images per score.

    They are `image_auroc`, `image_ap`, `image_f1max` and, for each of `FALSE_ALARMS`, the recall
    `image_recall_at_<percent>` at the lowest threshold that raises no larger share of the good
    images (with fewer than 100 of them, 1 % is none); float64 [...], NaN if not defined.

    Examples:
        >>> good, defective = np.array([3, 1, 0]), np.array([0, 1, 2])  # of three scores
        >>> figures = image_figures(good, defective)
        >>> print(f"{figures['image_auroc']:.4f} {figures['image_f1max']:.4f}")
        0.9583 0.8571
    """
    tied = np.zeros(negatives.shape[-1], bool)
    names = ("image_auroc", "image_ap", "image_f1max")
    figures = dict(zip(names, _of_thresholds(negatives, positives, tied), strict=True))
    rate = _divide(_from_above(negatives), negatives.sum(-1, keepdims=True))
    recall = _divide(_from_above(positives), positives.sum(-1, keepdims=True))
    for share in FALSE_ALARMS:
        found = np.where(rate <= share, recall, 0).max(-1, initial=0)
        figures[f"image_recall_at_{share * 100:.0f}"] = found
    return _where_both(negatives, positives, figures)


def pixel_figures(
    negatives: np.ndarray,
    positives: np.ndarray,
    regions: np.ndarray,
    images: np.ndarray,
    good: np.ndarray,
    mixed: np.ndarray,
) -> dict[str, np.ndarray]:
    """`pixel_auroc`, `pixel_ap`, `pixel_f1max`, `pixel_aupro` and `pixel_aupimo`, float64 [...].

    AUPRO is the mean overlap of defect regions over rates of false alarms up to `AUPRO_LIMIT` of
    all negative pixels. AUPIMO (Bertoldo et al. 2024) is the mean recall of each image's own
    defective pixels, over the logarithm of the rate of false alarms among good images' pixels,
    within `AUPIMO_BOUNDS`; fewer than 100,000 such pixels leave it undefined. Both are means of
    recalls, so histograms of weighted pixels give them and no image need be kept. What is not
    defined is NaN.

    Args:
        negatives: [..., n] counts of good pixels per score, of defective images as well.
        positives: [..., n] counts of defective pixels per score.
        regions: [..., n] sums of the positives' weights, 1 / size of a pixel's region.
        images: [..., n] sums of the positives' weights, 1 / defective pixels of its image.
        good: [..., n] counts of the pixels of good images.
        mixed: bool [n], where n are bins rather than values: those that hold several values.
    """
    names = ("pixel_auroc", "pixel_ap", "pixel_f1max")
    figures = dict(zip(names, _of_thresholds(negatives, positives, mixed), strict=True))
    figures["pixel_aupro"] = _mean_recall(negatives, regions, (0, AUPRO_LIMIT))
    image_recall = _mean_recall(good, images, AUPIMO_BOUNDS, np.log)
    enough = good.sum(-1) >= 1 / AUPIMO_BOUNDS[0]
    figures["pixel_aupimo"] = np.where(enough, image_recall, np.nan)
    return _where_both(negatives, positives, figures)


def _where_both(
    negatives: np.ndarray, positives: np.ndarray, figures: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The figures, NaN where there are no negatives or no positives."""
    both = negatives.any(-1) & positives.any(-1)
    return {name: np.where(both, figure, np.nan) for name, figure in figures.items()}
