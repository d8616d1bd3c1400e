import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vqad.evaluation.figures import (
    draw,
    evaluate_protocols,
    interval,
    resampled_image_figures,
    resampled_pixel_figures,
)
from vqad.evaluation.streaming import StreamingCurve, bin_scores


def _split(good, defective, side=40, seed=0):
    """Maps float32 and truth, the good images first; some images are harder than others."""
    rng = np.random.default_rng(seed)
    n = good + defective
    truth = np.zeros((n, side, side), np.uint8)
    truth[good:, 5:20, 10:25] = 1
    truth[good:, 30:34, 3:9] = 1
    logits = rng.normal(-4, 1.5, truth.shape) + rng.normal(0, 1, (n, 1, 1))
    logits += truth * rng.normal(4, 1.5, (n, 1, 1))
    return (1 / (1 + np.exp(-logits))).astype(np.float32), truth


def test_draws_are_of_whole_classes_and_the_same_each_time():
    once, *parts = draw([7, 0, 3], 120)
    assert [rows.tolist() for rows in once] == [[[1] * 7], [[]], [[1] * 3]]
    weights = [np.concatenate(rows) for rows in zip(*parts, strict=True)]
    for size, rows in zip((7, 0, 3), weights, strict=True):
        assert rows.shape == (120, size)
        assert (rows.sum(1) == size).all()
    assert len(np.unique(weights[0], axis=0)) > 100
    # Each image is left out of (1 - 1/7)^7 = 34 % of the resamples.
    assert (weights[0] == 0).mean() == pytest.approx((6 / 7) ** 7, abs=0.05)
    for again, part in zip(list(draw([7, 0, 3], 120))[1:], parts, strict=True):
        np.testing.assert_array_equal(again[0], part[0])


def test_image_figures_of_a_resample_are_those_of_its_images():
    rng = np.random.default_rng(1)
    labels = rng.random(60) < 0.3
    scores = np.round(rng.normal(0, 1, 60) + labels, 1)  # with ties
    weights = np.concatenate([part[0] for part in draw([60], 8)])
    figures = resampled_image_figures(scores, labels, weights)
    for row, weight in enumerate(weights):
        drawn = np.repeat(np.arange(60), weight.astype(int))
        assert figures["image_auroc"][row] == pytest.approx(
            roc_auc_score(labels[drawn], scores[drawn])
        )
        assert figures["image_ap"][row] == pytest.approx(
            average_precision_score(labels[drawn], scores[drawn])
        )


def test_pixel_figures_of_a_resample_are_nearly_those_of_its_images():
    good, defective = 70, 10
    maps, truth = _split(good, defective)
    classes = StreamingCurve(), StreamingCurve()
    for i in range(len(maps)):
        classes[int(i >= good)].count(*bin_scores(maps[i]), truth[i])
    for weights in draw([good, defective], 3):
        of_good, of_defective = (c.resample(w) for c, w in zip(classes, weights, strict=True))
        figures = resampled_pixel_figures(of_good + of_defective, of_good[0])
        for row in range(len(weights[0])):
            curves = StreamingCurve(), StreamingCurve()
            times = np.concatenate([rows[row] for rows in weights]).astype(int)
            for i in np.repeat(np.arange(len(maps)), times):
                curves[int(i >= good)].count(*bin_scores(maps[i]), truth[i])
            exact = (curves[0] + curves[1]).figures(curves[0])
            assert not np.isnan(list(exact.values())).any()
            assert {k: v[row] for k, v in figures.items()} == pytest.approx(exact, abs=5e-3)


def test_an_interval_holds_most_of_its_resamples_and_moves_with_the_figure():
    values = np.r_[0.48, np.linspace(0.4, 0.6, 1001)]
    assert interval(0.5, values) == pytest.approx((0.425, 0.615), abs=1e-4)
    assert interval(0.99, values) == pytest.approx((0.915, 1.0), abs=1e-4)
    assert interval(0.5, np.r_[values, np.nan]) == interval(0.5, values)
    assert interval(np.nan, values) is None
    assert interval(0.5, np.full(3, np.nan)) is None


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Of 200 test sets drawn anew, about 190 intervals hold the AUROC of endlessly many images."""
    rng = np.random.default_rng(2)
    labels = np.arange(150) >= 100
    area = 0.7602  # of unit normal scores that are 1 apart: Phi(1 / sqrt 2)
    held = 0
    for _ in range(200):
        scores = rng.normal(0, 1, 150) + labels
        values = [
            resampled_image_figures(scores, labels, np.concatenate(part, 1))["image_auroc"]
            for part in draw([100, 50], 300)
        ]
        values = np.concatenate(values)
        low, high = interval(values[0], values)
        held += low <= area <= high
    assert 178 <= held <= 198


def test_all_figures_have_intervals_around_them():
    good, defective = 70, 10
    maps, truth = _split(good, defective)
    pixels = StreamingCurve(), StreamingCurve()
    for i in range(len(maps)):
        pixels[int(i >= good)].count(*bin_scores(maps[i]), truth[i])
    scores = maps.mean((1, 2))
    class_ids = (np.arange(len(maps)) >= good).astype(int)
    first, second = (
        evaluate_protocols(scores, class_ids, [pixels], ("good", "crack"), resamples=200)[0]
        for _ in range(2)
    )
    assert first == second
    assert first.overall.intervals == first.classes["crack"].intervals
    for name, (low, high) in first.overall.intervals.items():
        assert 0 <= low <= getattr(first.overall, name) <= high <= 1
        assert 0 < high - low < 0.9


def test_memory_of_an_image_is_small_whatever_its_size():
    side, images = 200, 60
    truth = np.zeros((side, side), np.uint8)
    truth[50:90, 20:100] = 1
    map_ = np.random.default_rng(3).random((side, side), np.float32)
    pixels = StreamingCurve(), StreamingCurve()
    pixels[1].count(*bin_scores(map_), truth)
    tracemalloc.start()
    try:
        for _ in range(images):
            pixels[1].count(*bin_scores(map_), truth)
            pixels[0].count(*bin_scores(map_), 0 * truth)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < images * 16_000  # 12 kB of the defective one, 3 kB of the good one
