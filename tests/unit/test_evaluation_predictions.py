import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vqad.errors import VqadError
from vqad.evaluation.figures import centre
from vqad.evaluation.predictions import evaluate_predictions

CLASSES = ("good", "crack", "stain")
SIDE = 16


class Split:
    """A made-up test split whose predictions are known beforehand."""

    def __init__(self, class_ids, seed=0):
        rng = np.random.default_rng(seed)
        n = len(class_ids)
        self.class_id = np.array(class_ids, np.int32)
        self.label = (self.class_id > 0).astype(np.int32)
        self.image = rng.integers(0, 256, (n, SIDE, SIDE, 3), np.uint8)
        self.image[:, 0, 0, 0] = np.arange(n)  # so that predict can tell which image it is given
        self.mask = np.zeros((n, SIDE, SIDE), np.uint8)
        self.mask[self.label == 1, 4:9, 3:12] = 1
        self.score = rng.uniform(0, 1, n) * 0.7 + 0.3 * self.label * (self.class_id == 1)
        self.map = (rng.uniform(0, 0.8, self.mask.shape) + 0.2 * self.mask).astype(np.float32)
        self.names = [f"{i:03}.png" for i in range(n)]

    def batches(self, size=4):
        n = len(self.class_id)
        for start in range(0, n, size):
            rows = np.arange(start, start + size)
            index = np.minimum(rows, n - 1).astype(np.int32)
            yield {
                "image": self.image[index],
                "mask": self.mask[index],
                "label": self.label[index],
                "class_id": self.class_id[index],
                "index": index,
                "valid": rows < n,
            }

    def predict(self, images):
        which = images[:, 0, 0, 0].astype(int)
        smooth = images.astype(np.float32) / 255
        return {
            "score": self.score[which],
            "mask": self.map[which],
            "general": smooth,
            "specific": 1 - smooth,
        }

    def evaluate(self, **settings):
        settings = {"resamples": 20} | settings
        return evaluate_predictions(self.predict, self.batches(), CLASSES, self.names, **settings)


@pytest.fixture
def split():
    return Split([0, 1, 0, 2, 2, 0, 1, 0, 1, 0, 2, 0, 0, 1])  # 14 images, the last batch is padded


def _check(figures, split, rows):
    label, score = split.label[rows], split.score[rows]
    truth, pixels = split.mask[rows].ravel(), split.map[rows].ravel()
    assert figures.image_auroc == pytest.approx(roc_auc_score(label, score), abs=1e-9)
    assert figures.image_ap == pytest.approx(average_precision_score(label, score), abs=1e-9)
    assert figures.pixel_auroc == pytest.approx(roc_auc_score(truth, pixels), abs=1e-3)
    assert figures.pixel_ap == pytest.approx(average_precision_score(truth, pixels), abs=1e-3)


def test_figures_overall_and_per_class(split):
    evaluation = split.evaluate()
    _check(evaluation.overall, split, np.arange(14))
    assert evaluation.images == evaluation.overall.images == 14
    assert list(evaluation.classes) == ["crack", "stain"]
    for class_id, images in ((1, 4), (2, 3)):
        rows = np.isin(split.class_id, (0, class_id))
        figures = evaluation.classes[CLASSES[class_id]]
        _check(figures, split, rows)
        assert figures.images == images


def test_the_centre_alone_counts_in_the_papers_protocol():
    side, n = 256, 4
    rng = np.random.default_rng(0)
    maps = rng.uniform(0, 0.8, (n, side, side)).astype(np.float32)
    truth = np.zeros((n, side, side), np.uint8)
    truth[2:, 100:120, 50:70] = 1
    truth[2:, :16] = 1  # beyond the centre
    maps[2:, 100:120, 50:70] += 0.2
    batch = {
        "image": np.zeros((n, side, side, 3), np.uint8),
        "mask": truth,
        "label": np.array([0, 0, 1, 1]),
        "class_id": np.array([0, 0, 1, 1]),
        "index": np.arange(n),
        "valid": np.ones(n, bool),
    }
    empty = np.zeros((n, 1, 1, 3), np.float32)
    predicted = {"score": rng.random(n), "mask": maps, "general": empty, "specific": empty}
    evaluation = evaluate_predictions(
        lambda _: predicted, [batch], CLASSES[:2], "abcd", resamples=20
    )
    for protocol, inside in ((evaluation, slice(None)), (evaluation.centre, slice(16, 240))):
        labels, scores = truth[:, inside, inside].ravel(), maps[:, inside, inside].ravel()
        for figures in (protocol.overall, protocol.classes["crack"]):
            expected = roc_auc_score(labels, scores)
            assert figures.pixel_auroc == pytest.approx(expected, abs=1e-3)
            expected = average_precision_score(labels, scores)
            assert figures.pixel_ap == pytest.approx(expected, abs=1e-3)
    assert evaluation.centre.overall.pixel_aupro > evaluation.overall.pixel_aupro + 0.1
    assert evaluation.centre.overall.image_ap == evaluation.overall.image_ap


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((256, 256), (slice(16, 240), slice(16, 240))),
        ((512, 512), None),
        ((256, 300), None),
        ((224, 640), None),
    ],
)
def test_the_centre_of_an_image(shape, window):
    assert centre(shape) == window


def test_small_images_have_no_centre(split):
    assert split.evaluate().centre is None


def test_batch_size_and_padding_change_nothing(split):
    whole = evaluate_predictions(
        split.predict, split.batches(14), CLASSES, split.names, resamples=20
    )
    padded = evaluate_predictions(
        split.predict, split.batches(5), CLASSES, split.names, resamples=20
    )
    assert whole.overall == padded.overall
    assert whole.classes == padded.classes


def test_padded_rows_may_hold_anything(split):
    def predict(images):
        predicted = split.predict(images)
        if (images[2:] == images[-1]).all():  # the last batch: two images, two padded rows
            for value in predicted.values():
                value[2:] = np.nan
        return predicted

    assert (
        evaluate_predictions(predict, split.batches(), CLASSES, split.names, resamples=20).overall
        == split.evaluate().overall
    )


def test_good_images_alone_leave_figures_undefined():
    evaluation = Split([0, 0, 0]).evaluate()
    assert evaluation.overall.image_auroc is None
    assert evaluation.overall.pixel_ap is None
    assert evaluation.classes["crack"].images == 0
    assert evaluation.classes["crack"].image_ap is None
    assert evaluation.classes["crack"].pixel_aupro is None
    assert set(evaluation.overall.intervals.values()) == {None}
    assert evaluation.cases["missed"] == []
    assert len(evaluation.cases["quiet"]) == 3


def test_seconds_leave_out_the_first_batch(split, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def predict(images):
        clock[0] += 100.0 if clock[0] == 0 else 2.0
        return split.predict(images)

    evaluation = evaluate_predictions(predict, split.batches(), CLASSES, split.names, resamples=20)
    assert evaluation.seconds_per_image == pytest.approx(0.5)
    assert (
        evaluate_predictions(
            split.predict, split.batches(16), CLASSES, split.names, resamples=20
        ).seconds_per_image
        is None
    )


def test_worst_and_best_cases(split):
    cases = split.evaluate(k=2).cases

    def expected(label, descending):
        rows = np.flatnonzero(split.label == label)
        order = rows[np.argsort(-split.score[rows] if descending else split.score[rows])]
        return [split.names[i] for i in order[:2]]

    assert [case.name for case in cases["missed"]] == expected(1, descending=False)
    assert [case.name for case in cases["false alarms"]] == expected(0, descending=True)
    assert [case.name for case in cases["found"]] == expected(1, descending=True)
    assert [case.name for case in cases["quiet"]] == expected(0, descending=False)
    case = cases["missed"][0]
    row = split.names.index(case.name)
    assert case.class_name == CLASSES[split.class_id[row]]
    assert case.score == split.score[row]
    np.testing.assert_array_equal(case.image, split.image[row])
    np.testing.assert_array_equal(case.truth, split.mask[row])
    np.testing.assert_array_equal(case.mask, split.map[row])
    np.testing.assert_array_equal(case.general, split.image[row])
    np.testing.assert_array_equal(case.specific, 255 - split.image[row])


def test_equal_scores_keep_the_first_cases(split):
    split.score[:] = 0.25
    assert [case.name for case in split.evaluate(k=2).cases["quiet"]] == ["000.png", "002.png"]


@pytest.mark.parametrize("key", ["score", "mask", "general", "specific"])
def test_predictions_that_are_not_finite_are_refused_by_name(split, key):
    def predict(images):
        predicted = split.predict(images)
        predicted[key][images[:, 0, 0, 0] == 6] = np.nan
        return predicted

    with pytest.raises(VqadError, match=rf"^006\.png: the predicted {key} is not finite"):
        evaluate_predictions(predict, split.batches(), CLASSES, split.names, resamples=20)


def test_an_empty_split_is_refused(split):
    with pytest.raises(VqadError, match="no images"):
        evaluate_predictions(split.predict, iter([]), CLASSES, split.names, resamples=20)


def test_the_first_class_must_be_good(split):
    with pytest.raises(VqadError, match="'crack', not 'good'"):
        evaluate_predictions(split.predict, split.batches(), CLASSES[1:], split.names)
