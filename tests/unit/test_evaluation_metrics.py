import json

import numpy as np
import pytest
from make_metric_fixtures import CASES, FILE, GOOD, make_case
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from vqad.errors import VqadError
from vqad.evaluation.figures import resampled_image_figures
from vqad.evaluation.streaming import StreamingCurve, bin_scores


def image_figures(scores, labels):
    once = np.ones((1, len(scores)), np.float32)
    return {k: v[0] for k, v in resampled_image_figures(scores, labels, once).items()}


def count(curve, scores, labels):
    curve.count(*bin_scores(np.asarray(scores)), np.asarray(labels))


def best_f1(labels, scores):
    precision, recall, _ = precision_recall_curve(labels, scores)
    return (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()


def _softmax(logits):
    return 1 / (1 + np.exp(-logits))


def _beta(rng, n):
    labels = rng.random(n) < 0.1
    return np.where(labels, rng.beta(3, 2, n), rng.beta(1, 4, n)), labels


def _near_zero(rng, n):
    labels = rng.random(n) < 0.02
    return _softmax(rng.normal(-16, 1.5, n) + 2 * labels), labels


def _near_one(rng, n):
    labels = rng.random(n) < 0.3
    return _softmax(rng.normal(13, 1, n) + labels), labels


def _both_ends(rng, n):
    labels = rng.random(n) < 0.05
    scores = np.where(rng.random(n) < 0.5 + 0.4 * labels, 1 - 1e-7, 1e-7)
    return scores * rng.uniform(0.2, 1, n), labels


def _saturated(rng, n):
    labels = rng.random(n) < 0.05
    return _softmax(np.clip(rng.normal(-30, 20, n) + 30 * labels, -80, 80)), labels


def _undecided(rng, n):
    labels = rng.random(n) < 0.05
    return 0.5 + 0.005 * (rng.normal(size=n) + labels), labels


def _ties(rng, n):
    labels = rng.random(n) < 0.2
    return np.clip(rng.integers(0, 8, n) + 2 * labels, 0, 10) / 10, labels


def _exact_ends(rng, n):
    labels = rng.random(n) < 0.5
    return rng.choice([0.0, 0.5, 1.0], n), labels


def _all_equal(rng, n):
    return np.full(n, 0.3), rng.random(n) < 0.2


KINDS = [
    _beta,
    _near_zero,
    _near_one,
    _both_ends,
    _saturated,
    _undecided,
    _ties,
    _exact_ends,
    _all_equal,
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_curve_equals_scikit_learn(kind, dtype):
    scores, labels = kind(np.random.default_rng(0), 200_000)
    scores = scores.astype(dtype)
    curve = StreamingCurve()
    for part in np.array_split(np.arange(scores.size), 7):
        count(curve, scores[part], labels[part])
    figures = curve.figures(good=StreamingCurve())
    assert figures["pixel_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)
    assert figures["pixel_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-3)
    assert figures["pixel_f1max"] == pytest.approx(best_f1(labels, scores), abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_figures_equal_scikit_learn(kind):
    scores, labels = kind(np.random.default_rng(1), 300)
    rates, recalls, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = {
        "image_auroc": roc_auc_score(labels, scores),
        "image_ap": average_precision_score(labels, scores),
        "image_f1max": best_f1(labels, scores),
        "image_recall_at_1": recalls[rates <= 0.01].max(),
        "image_recall_at_5": recalls[rates <= 0.05].max(),
    }
    assert image_figures(scores, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_overlaps_equal_anomalib(case):
    expected = json.loads(FILE.read_text())["cases"][case]
    maps, truth = make_case(case)
    assert maps.sum(dtype=np.float64) == pytest.approx(expected["pixel_sum"], rel=1e-9)
    good, defective = StreamingCurve(), StreamingCurve()
    for i in range(len(maps)):
        count((good if i < GOOD else defective), maps[i], truth[i])
    figures = (good + defective).figures(good)
    assert figures["pixel_aupro"] == pytest.approx(expected["aupro"], abs=1e-4)
    assert figures["pixel_aupimo"] == pytest.approx(expected["aupimo"], abs=1e-4)


def test_each_region_and_each_image_weighs_the_same():
    good, defective = StreamingCurve(), StreamingCurve()
    count(good, np.linspace(0, 0.5, 100_000), np.zeros(100_000))
    truth = np.zeros((20, 20))
    truth[:10], truth[15, 15], truth[18, 18] = 1, 1, 1  # 200 pixels, and twice one
    count(defective, np.where(np.arange(20) < 10, truth, 0.0 * truth), truth)
    count(defective, np.full((2, 2), 0.9), np.ones((2, 2)))
    figures = (good + defective).figures(good)
    # In halves: the large region of the first image; none of its small ones; all of the second.
    assert figures["pixel_aupimo"] == pytest.approx((100 / 202 + 1) / 2, abs=1e-6)
    assert figures["pixel_aupro"] == pytest.approx((0.5 + 0 + 0 + 1) / 4, abs=2e-3)


def test_too_few_good_pixels_leave_aupimo_undefined():
    good, defective = StreamingCurve(), StreamingCurve()
    count(good, np.linspace(0, 0.5, 99_999), np.zeros(99_999))
    count(defective, np.linspace(0, 1, 100), np.arange(100) > 50)
    figures = (good + defective).figures(good)
    assert np.isnan(figures["pixel_aupimo"])
    assert figures["pixel_aupro"] == 1


def test_few_positives_among_many_negatives():
    rng = np.random.default_rng(2)
    labels = np.zeros(500_000, bool)
    labels[:30] = True
    scores = _softmax(rng.normal(-9, 2, labels.size) + 9 * labels).astype(np.float32)
    curve = StreamingCurve()
    count(curve, scores, labels)
    assert curve.figures(good=curve)["pixel_ap"] == pytest.approx(
        average_precision_score(labels, scores), abs=1e-3
    )


def test_bins_never_reverse_an_order():
    rng = np.random.default_rng(3)
    scores = np.sort(np.concatenate([_softmax(rng.uniform(-40, 40, 20_000)), [0, 0.5, 1]]))
    for dtype in (np.float32, np.float64):
        seen = []
        for score in scores[:: scores.size // 300].astype(dtype):
            curve = StreamingCurve()
            count(curve, np.array([score]), np.array([0]))
            seen.append(int(np.flatnonzero(curve.counts[0])[0]))
        assert seen == sorted(seen)
        assert len(set(seen)) > 150


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_alone_is_not_defined(label):
    curve = StreamingCurve()
    assert len(curve.figures(curve)) == 5
    assert np.isnan(list(curve.figures(curve).values())).all()
    scores, labels = np.linspace(0, 1, 10), np.full(10, label, bool)
    count(curve, scores, labels)
    assert np.isnan(list(curve.figures(curve).values())).all()
    assert np.isnan(list(image_figures(scores, labels).values())).all()
    assert np.isnan(list(image_figures(scores[:0], labels[:0]).values())).all()


def test_merged_curves_equal_a_single_pass():
    scores, labels = _beta(np.random.default_rng(4), 10_000)
    whole, left, right = StreamingCurve(), StreamingCurve(), StreamingCurve()
    count(whole, scores, labels)
    count(left, scores[:3000], labels[:3000])
    count(right, scores[3000:], labels[3000:])
    added = left + right
    np.testing.assert_array_equal(added.counts, whole.counts)
    np.testing.assert_array_equal(added.mixed, whole.mixed)
    figures = whole.figures(whole)
    del figures["pixel_aupro"], figures["pixel_aupimo"]  # their regions and images are cut in two
    assert figures.items() <= added.figures(added).items()
    assert left.counts.sum() == 3000


def test_state_grows_by_coarse_histograms_alone():
    curve = StreamingCurve()

    def sizes():
        arrays = {name: a for name, a in vars(curve).items() if isinstance(a, np.ndarray)}
        return {name: array.nbytes for name, array in arrays.items()}

    before = sizes()
    for seed in range(20):
        count(curve, *_beta(np.random.default_rng(seed), 50_000))
    assert sizes() == before
    assert sum(before.values()) < 1e7
    kept = [*curve._negatives, *curve._positives.values()]
    assert sum(array.nbytes for array in kept) <= 20 * 12_500
    assert curve.counts.sum() == 1_000_000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_scores_out_of_range_are_refused_and_not_counted(bad):
    curve = StreamingCurve()
    with pytest.raises(VqadError, match=r"finite scores in \[0, 1\]"):
        count(curve, np.array([0.5, bad], np.float32), np.array([0, 1]))
    assert curve.counts.sum() == 0


def test_rounding_of_a_softmax_is_accepted_at_the_ends():
    curve = StreamingCurve()
    count(curve, np.array([1 + 1e-7, -1e-9, -0.0], np.float32), np.array([1, 0, 0]))
    assert curve.counts[1, -1] == 1
    assert curve.counts[0, 0] == 2
