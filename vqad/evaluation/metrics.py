"""Area under the ROC curve and average precision, exact for images, streamed for pixels.

Pixels are too many to keep, so `StreamingCurve` counts them in a histogram of fixed size. Images
are few: `auroc` and `average_precision` take their exact scores, eight bytes an image. Equal scores
are tied, as in scikit-learn. A figure needs positives and negatives; without either it is None.
"""

from typing import Self

import numpy as np

from vqad.errors import VqadError

# A bin is a float32 exponent and the first 11 bits of its mantissa, of p below one half and of
# 1 - p from there on: in effect a logit scale, got by shifts instead of logarithms.
_SHIFT = 23 - 11
_LOWEST = (127 - 64) << 23 >> _SHIFT  # 2^-64; what is nearer to an end shares one bin
_HALF = ((127 - 1) << 23 >> _SHIFT) - _LOWEST + 3
BINS = 2 * _HALF
_EMPTY = -1.0
_ROUNDING = 1e-5  # a float32 softmax may pass 1 by a few units in the last place


def _bin(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bins in [0, BINS), rising with the score, and distances to the nearer end (float32).

    Bins 0 and BINS - 1 hold exactly 0 and exactly 1.
    """
    tail = np.minimum(scores, 1 - scores).astype(np.float32)  # 1 - p is exact from one half on
    bins = np.maximum((tail.view(np.int32) >> _SHIFT) - _LOWEST + 2, 1)
    bins *= tail > 0
    return np.where(scores < 0.5, bins, BINS - 1 - bins), tail


def _auroc(negatives: np.ndarray, positives: np.ndarray) -> float | None:
    """Area from counts per bin, bins in rising order of score; within a bin one half."""
    pairs = float(negatives.sum()) * float(positives.sum())
    if pairs == 0:
        return None
    below = np.cumsum(negatives, dtype=np.float64) - negatives / 2
    return float(positives @ below / pairs)


def _harmonic(n: np.ndarray) -> np.ndarray:
    """Sum of 1 / k for k = 1 .. n, by its asymptotic series."""
    n_ = np.maximum(n, 1.0)
    series = np.log(n_) + np.euler_gamma + 1 / (2 * n_) - 1 / (12 * n_**2) + 1 / (120 * n_**4)
    return np.where(n > 0, series, 0.0)


def _average_precision(
    negatives: np.ndarray, positives: np.ndarray, mixed: np.ndarray
) -> float | None:
    """Mean precision at the positives, from counts per bin in rising order of score.

    Scores of a bin are tied, but in a mixed bin (several values) they stand in unknown order: there
    the mean over all orders is taken. Tying them as well would bias the sum by the bins' width.
    """
    if negatives.sum() == 0 or positives.sum() == 0:
        return None
    filled = np.flatnonzero(positives)[::-1]
    found = np.cumsum(positives[::-1], dtype=np.float64)[::-1][filled]
    raised = np.cumsum((positives + negatives)[::-1], dtype=np.float64)[::-1][filled]
    here, mixed = positives[filled].astype(np.float64), mixed[filled]
    tied_sum = (here * found / raised)[~mixed].sum()

    # At place j of n, a positive has on average 1 + (j - 1) rate of the bin's positives above or
    # at it: sum (found_above + 1 + (j - 1) rate) / (raised_above + j) over j, a harmonic sum.
    here, found, raised = here[mixed], found[mixed], raised[mixed]
    n = here + negatives[filled][mixed]
    rate = (here - 1) / (n - 1)
    places = _harmonic(raised) - _harmonic(raised - n)
    mixed_sum = here / n * (n * rate + (found - here + 1 - rate - rate * (raised - n)) * places)
    return float((tied_sum + mixed_sum.sum()) / positives.sum())


def _count_values(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, where = np.unique(np.asarray(scores).ravel(), return_inverse=True)
    labels = np.asarray(labels).ravel().astype(bool)
    negatives, positives = where[~labels], where[labels]
    return (
        np.bincount(negatives, minlength=values.size),
        np.bincount(positives, minlength=values.size),
    )


def auroc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Exact area under the ROC curve.

    Args:
        scores: [n] floats, finite, any range; higher means more anomalous.
        labels: [n] 0 or 1 (1 = anomalous).

    Returns:
        The area in [0, 1]; None without positives or without negatives.
    """
    return _auroc(*_count_values(scores, labels))


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Exact average precision (no interpolation); arguments and None as for `auroc`."""
    negatives, positives = _count_values(scores, labels)
    return _average_precision(negatives, positives, np.zeros(positives.size, bool))


class StreamingCurve:
    """ROC and precision-recall figures of any number of scores in [0, 1], in constant memory.

    Counts negatives and positives in `BINS` bins (5 MB) that are narrow near 0 and near 1, where a
    softmax puts most of its values: 0.05 % of p or of 1 - p, at most 2.4e-4. The figures equal
    scikit-learn's to 1e-3 unless all that tells the labels apart happens within a few bins. Image
    figures need not be streamed: this module's functions are exact.

    Attributes:
        counts: [2, BINS] int64; row 0 counts the negatives, row 1 the positives.
        mixed: [BINS] bool; whether a bin has seen different values.
    """

    def __init__(self) -> None:
        self.counts = np.zeros((2, BINS), np.int64)
        self.mixed = np.zeros(BINS, bool)
        self._value = np.full(BINS, _EMPTY, np.float32)  # one of the values seen, as a tail

    def update(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Count scores.

        Args:
            scores: floats in [0, 1], any shape.
            labels: 0 or 1 (or bool), same shape.

        Raises:
            VqadError: a score is not finite or not in [0, 1], or the shapes differ; nothing is
                counted then.
        """
        scores, labels = np.asarray(scores), np.asarray(labels)
        if scores.shape != labels.shape:
            raise VqadError(
                f"scores {scores.shape} and labels {labels.shape} differ in shape; "
                "give one label a score"
            )
        if scores.size == 0:
            return
        if scores.dtype != np.float64:
            scores = scores.astype(np.float32)
        low, high = scores.min(), scores.max()
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # written so that NaN fails it
            raise VqadError(f"scores range from {low} to {high}; give finite scores in [0, 1]")
        bins, tail = _bin(np.clip(scores, 0, 1).ravel())
        fresh = self._value[bins] == _EMPTY
        self._value[bins[fresh]] = tail[fresh]
        self.mixed[bins[self._value[bins] != tail]] = True
        rows = (labels.ravel() != 0) * np.int32(BINS)
        self.counts += np.bincount(bins + rows, minlength=2 * BINS).reshape(2, BINS)

    def merge(self, other: "StreamingCurve") -> Self:
        """Count what another curve has counted, as if this one had seen it; returns itself."""
        self.counts += other.counts
        both = (self._value != _EMPTY) & (other._value != _EMPTY)
        self.mixed |= other.mixed | (both & (self._value != other._value))
        self._value = np.where(self._value == _EMPTY, other._value, self._value)
        return self

    def __add__(self, other: "StreamingCurve") -> "StreamingCurve":
        return StreamingCurve().merge(self).merge(other)

    def auroc(self) -> float | None:
        """Area under the ROC curve in [0, 1]; None without positives or without negatives."""
        return _auroc(*self.counts)

    def average_precision(self) -> float | None:
        """Average precision in [0, 1]; None without positives or without negatives."""
        return _average_precision(*self.counts, self.mixed)
