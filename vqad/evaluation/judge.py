"""Judging a detector on a test split: figures overall and per class, worst and best cases."""

import heapq
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from vqad.errors import VqadError
from vqad.evaluation.metrics import StreamingCurve, auroc, average_precision

Predict = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Figures:
    """What one set of images scored. A figure is None where positives or negatives are lacking.

    Attributes:
        image_auroc, image_ap: of image scores, exact.
        pixel_auroc, pixel_ap: of the pixel maps, from `StreamingCurve`.
        images: number of images; for a defect class, of that class alone.
    """

    image_auroc: float | None
    image_ap: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    images: int


@dataclass(frozen=True)
class Case:
    """One judged image, for a look.

    Attributes:
        class_name, name: the image's class and file name.
        score: its image score.
        image: uint8 [h, w, 3].
        truth: uint8 [h, w] in {0, 1}.
        mask: float32 [h, w] in [0, 1], the predicted pixel map.
        general, specific: uint8 [h, w, 3], the two reconstructions.
    """

    class_name: str
    name: str
    score: float
    image: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    general: np.ndarray
    specific: np.ndarray


@dataclass(frozen=True)
class Judgement:
    """Result of `judge`.

    Attributes:
        overall: figures over all images.
        classes: figures per defect class, in the order of the class names.
        images: number of images judged.
        seconds_per_image: time of prediction per image; None when there was only the first batch.
        cases: lists of at most k cases, most telling first, under "missed" (defective, lowest
            scores), "false alarms" (good, highest), "found" (defective, highest) and "quiet" (good,
            lowest). Where images are few, one can be in two lists.
    """

    overall: Figures
    classes: dict[str, Figures]
    images: int
    seconds_per_image: float | None
    cases: dict[str, list[Case]]


class _Extremes:
    """The k cases of the highest rank seen so far; a case is only built when it gets in."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._heap: list[tuple[float, int, Case]] = []

    def offer(self, rank: float, order: int, build: Callable[[], Case]) -> None:
        # Of equal ranks the earlier image wins; `order` is unique, so cases are never compared.
        entry = (rank, -order)
        if len(self._heap) < self._k:
            heapq.heappush(self._heap, (*entry, build()))
        elif entry > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*entry, build()))

    def cases(self) -> list[Case]:
        return [case for *_, case in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _build_case(
    predicted: Mapping[str, np.ndarray],
    batch: Mapping[str, np.ndarray],
    row: int,
    class_name: str,
    name: str,
) -> Case:
    # Copies, because a view would keep the whole batch alive.
    return Case(
        class_name=class_name,
        name=name,
        score=float(predicted["score"][row]),
        image=np.array(batch["image"][row]),
        truth=np.array(batch["mask"][row]),
        mask=np.array(predicted["mask"][row], np.float32),
        general=_to_uint8(predicted["general"][row]),
        specific=_to_uint8(predicted["specific"][row]),
    )


def _check_finite(predicted: Mapping[str, np.ndarray], row: int, name: str) -> None:
    for key, value in predicted.items():
        if not np.isfinite(value[row]).all():
            raise VqadError(
                f"{name}: the predicted {key} is not finite; the weights are damaged or training "
                "diverged, judge an earlier checkpoint"
            )


def judge(
    predict: Predict,
    batches: Iterable[Mapping[str, np.ndarray]],
    classes: Sequence[str],
    names: Sequence[str],
    k: int = 4,
) -> Judgement:
    """Judge predictions on a labelled test split.

    A defect class is judged against all good images: its image figures are of that class's images
    and every good image, its pixel figures of all pixels of the same images. Pixels are streamed,
    image scores exact: memory is constant but for some bytes an image.

    Args:
        predict: takes uint8 [b, h, w, 3]; returns float arrays `score` [b] (higher = more
            anomalous), `mask` [b, h, w] in [0, 1] (channel 1 of the upsampled map), `general` and
            `specific` [b, h, w, 3] in [0, 1].
        batches: dicts of `image` uint8 [b, h, w, 3], `mask` uint8 [b, h, w] in {0, 1}, `label`
            int32 [b] (1 = defective), `class_id` int32 [b], `index` int32 [b], `valid` bool [b].
            Rows that are not valid are padding and count in no figure.
        classes: class names by `class_id`; the first is "good".
        names: an image's name by `index`.
        k: how many cases of each kind to keep, at least 1.

    Returns:
        The judgement. Its time is that of `predict` alone, without the first batch (compilation),
        over all rows that were computed, padding included.

    Raises:
        VqadError: a prediction is not finite, a map is outside [0, 1], the first class is not
            "good", or there are no images.
    """
    if classes[0] != "good":
        raise VqadError(
            f"classes: the first is {classes[0]!r}, not 'good'; list the class of good images first"
        )
    curves = [StreamingCurve() for _ in classes]
    kinds = {kind: _Extremes(k) for kind in ("missed", "false alarms", "found", "quiet")}
    scores: list[float] = []
    labels: list[bool] = []
    class_ids: list[int] = []
    seconds, timed_rows = 0.0, 0

    for number, batch in enumerate(batches):
        start = time.perf_counter()
        predicted = {key: np.asarray(value) for key, value in predict(batch["image"]).items()}
        if number > 0:
            seconds += time.perf_counter() - start
            timed_rows += len(batch["image"])

        for row in np.flatnonzero(batch["valid"]):
            name = names[batch["index"][row]]
            _check_finite(predicted, row, name)
            score, label = float(predicted["score"][row]), bool(batch["label"][row])
            class_id = int(batch["class_id"][row])
            curves[class_id].update(predicted["mask"][row], batch["mask"][row])

            build = partial(_build_case, predicted, batch, row, classes[class_id], name)
            kinds["found" if label else "false alarms"].offer(score, len(scores), build)
            kinds["missed" if label else "quiet"].offer(-score, len(scores), build)
            scores.append(score)
            labels.append(label)
            class_ids.append(class_id)

    if not scores:
        raise VqadError("the test split has no images; give a source with a test split")
    score, label, class_id = np.array(scores), np.array(labels), np.array(class_ids)

    def figures(rows: np.ndarray, curve: StreamingCurve, images: int) -> Figures:
        return Figures(
            image_auroc=auroc(score[rows], label[rows]),
            image_ap=average_precision(score[rows], label[rows]),
            pixel_auroc=curve.auroc(),
            pixel_ap=curve.average_precision(),
            images=images,
        )

    everything = StreamingCurve()
    for curve in curves:
        everything.merge(curve)
    return Judgement(
        overall=figures(np.ones(len(scores), bool), everything, len(scores)),
        classes={
            classes[c]: figures(
                (class_id == c) | (class_id == 0), curves[c] + curves[0], int((class_id == c).sum())
            )
            for c in range(1, len(classes))
        },
        images=len(scores),
        seconds_per_image=seconds / timed_rows if timed_rows else None,
        cases={kind: extremes.cases() for kind, extremes in kinds.items()},
    )
