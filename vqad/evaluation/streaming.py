"""Pixels, too many to keep, counted in histograms of fixed size as they come."""

import numpy as np
from scipy import ndimage

from vqad.errors import VqadError
from vqad.evaluation.metrics import pixel_figures

# A bin is a float32 exponent and the first 11 bits of its mantissa, of p below one half and of
# 1 - p from there on: in effect a logit scale, got by shifts instead of logarithms.
_SHIFT = 23 - 11
_LOWEST = (127 - 64) << 23 >> _SHIFT  # 2^-64; what is nearer to an end shares one bin
_HALF = ((127 - 1) << 23 >> _SHIFT) - _LOWEST + 3
BINS = 2 * _HALF
_EMPTY = -1.0
_ROUNDING = 1e-5  # a float32 softmax may pass 1 by a few units in the last place


def _coarse_bins() -> np.ndarray:
    """The coarse bin of each bin: 4 bits of mantissa instead of 11, 2^-24 instead of 2^-64."""
    half = np.maximum((np.arange(_HALF) - 2 >> 7) - ((64 - 24) << 4), 0)
    return np.concatenate([half, 2 * half[-1] + 1 - half[::-1]]).astype(np.int16)


_COARSE = _coarse_bins()
COARSE_BINS = int(_COARSE[-1]) + 1


def bin_scores(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bins of scores in [0, 1] of any shape, int32 in [0, BINS), and distances to the nearer end.

    Bins rise with the score; 0 and BINS - 1 hold exactly 0 and exactly 1. Distances are float32.
    Raises a VqadError if a score is not finite or not in [0, 1].
    """
    if scores.dtype != np.float64:
        scores = scores.astype(np.float32)
    low, high = scores.min(initial=1), scores.max(initial=0)
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # written so that NaN fails it
        raise VqadError(f"scores range from {low} to {high}; give finite scores in [0, 1]")
    scores = np.clip(scores, 0, 1)
    tails = np.minimum(scores, 1 - scores).astype(np.float32)  # 1 - p is exact from one half on
    bins = np.maximum((tails.view(np.int32) >> _SHIFT) - _LOWEST + 2, 1)
    bins *= tails > 0
    return np.where(scores < 0.5, bins, BINS - 1 - bins), tails


class StreamingCurve:
    """Figures of pixels with scores in [0, 1], in 3 kB an image (12 kB if defective) and 10 MB.

    Counts pixels in `BINS` bins that are narrow near 0 and near 1, where a softmax puts
    most of its values: 0.05 % of p or of 1 - p, at most 2.4e-4. The figures equal scikit-learn's
    and anomalib's to 1e-3 unless all that tells the labels apart happens within a few bins.

    Attributes:
        counts: [2, BINS] int64; row 0 counts the negatives, row 1 the positives.
        overlaps: [2, BINS] float64; positives that weigh 1 / size of their region (row 0), and
            1 / number of positives in their image (row 1).
        mixed: [BINS] bool; whether a bin has seen different values.
    """

    def __init__(self) -> None:
        self.counts = np.zeros((2, BINS), np.int64)
        self.overlaps = np.zeros((2, BINS))
        self.mixed = np.zeros(BINS, bool)
        self._value = np.full(BINS, _EMPTY, np.float32)  # one of the values seen, as a tail
        self._negatives: list[np.ndarray] = []  # of each image, in coarse bins
        self._positives: dict[int, np.ndarray] = {}  # likewise, by the image's number

    def count(self, bins: np.ndarray, tails: np.ndarray, labels: np.ndarray) -> None:
        """Counts the pixels of one image, given what `bin_scores` returns and labels, 0 or 1."""
        labels = labels != 0
        negatives, positives = bins[~labels], bins[labels]
        np.add.at(self.counts[0], negatives, 1)
        if positives.size:
            # Regions touch at sides or corners.
            own = ndimage.label(labels, np.ones((3,) * labels.ndim))[0][labels]
            coarse, weights = [], np.ones(positives.size)
            kinds = (weights, 1 / np.bincount(own)[own], weights / positives.size)
            for row, weight in zip((self.counts[1], *self.overlaps), kinds, strict=True):
                np.add.at(row, positives, weight.astype(row.dtype))
                coarse.append(np.bincount(_COARSE[positives], weight, COARSE_BINS))
            self._positives[len(self._negatives)] = np.array(coarse, np.float32)
        coarse = np.bincount(_COARSE[negatives], minlength=COARSE_BINS)
        self._negatives.append(coarse.astype(np.float32))
        fresh = self._value[bins] == _EMPTY
        self._value[bins[fresh]] = tails[fresh]
        self.mixed[bins[self._value[bins] != tails]] = True

    def resample(self, weights: np.ndarray) -> np.ndarray:
        """Histograms of resamples, in which each of the n images is float32 [b, n] times.

        float64 [4, b, COARSE_BINS]: negatives, positives and the two rows of `overlaps`.
        """
        summed = np.zeros((4, len(weights), COARSE_BINS))
        if self._negatives:
            summed[0] = weights @ np.asarray(self._negatives)
        if self._positives:
            positives = np.asarray([*self._positives.values()]).reshape(len(self._positives), -1)
            of_defective = weights[:, [*self._positives]] @ positives
            summed[1:] = of_defective.reshape(-1, 3, COARSE_BINS).swapaxes(0, 1)
        return summed

    def __add__(self, other: "StreamingCurve") -> "StreamingCurve":
        """A curve that has counted what either has, but has no single images to resample."""
        both = StreamingCurve()
        both.counts = self.counts + other.counts
        both.overlaps = self.overlaps + other.overlaps
        seen = (self._value != _EMPTY) & (other._value != _EMPTY)
        both.mixed = self.mixed | other.mixed | (seen & (self._value != other._value))
        both._value = np.where(self._value == _EMPTY, other._value, self._value)
        return both

    def figures(self, good: "StreamingCurve") -> dict[str, float]:
        """Figures as of `vqad.evaluation.metrics.pixel_figures`, given the good images' pixels."""
        filled = self.counts.any(0) | good.counts.any(0)
        figures = pixel_figures(
            *self.counts[:, filled],
            *self.overlaps[:, filled],
            good.counts[:, filled].sum(0),
            self.mixed[filled],
        )
        return {name: float(value) for name, value in figures.items()}
