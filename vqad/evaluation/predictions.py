"""A detector on a test split: figures overall and per class, worst and best cases."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from vqad.errors import VqadError
from vqad.evaluation.cases import Case, Ranked, build_case, keep_highest
from vqad.evaluation.figures import Protocol, centre, evaluate_protocols
from vqad.evaluation.streaming import StreamingCurve, bin_scores
from vqad.prediction.jitted import Predict


@dataclass(frozen=True)
class Evaluation(Protocol):
    """Result of `evaluate_predictions`: figures of whole images, and more.

    Attributes:
        centre: the same by the paper's protocol, whose pixel figures leave out what is beyond the
            centre of 224 x 224 and whose image scores are those of the whole image; None unless
            the images are of 256 x 256, for which alone the paper defines it.
        images: number of images.
        seconds_per_image: time of prediction per image; None when there was only the first batch.
        cases: lists of at most k cases, most telling first, under "missed" (defective, lowest
            scores), "false alarms" (good, highest), "found" (defective, highest) and "quiet" (good,
            lowest). Where images are few, one can be in two lists.
    """

    centre: Protocol | None
    images: int
    seconds_per_image: float | None
    cases: dict[str, list[Case]]


def evaluate_predictions(
    predict: Predict,
    batches: Iterable[Mapping[str, np.ndarray]],
    classes: Sequence[str],
    names: Sequence[str],
    k: int = 4,
    resamples: int = 1000,
) -> Evaluation:
    """Evaluates predictions on a labelled test split.

    A defect class is evaluated against all good images: its figures are of that class's images and
    every good one. Pixels are streamed, image scores exact: memory is 10 MB a class and 3 kB an
    image (12 kB if defective), twice that where there is a centre.

    Args:
        predict: as of `vqad.prediction.jitted.make_predict`.
        batches: dicts of `image` uint8 [b, h, w, 3], `mask` uint8 [b, h, w] in {0, 1}, `label`
            int32 [b] (1 = defective), `class_id` int32 [b], `index` int32 [b], `valid` bool [b].
            Rows that are not valid are padding and count in no figure; of those for which
            `has_mask` bool [b] is False, where it is given, no pixel does. All images are of one
            size, and those of class 0, and no others, are good.
        classes: class names by `class_id`; the first is "good".
        names: an image's name by `index`.
        k: how many cases of each kind to keep, at least 1.
        resamples: how many of the images, for the intervals (`vqad.evaluation.figures`).

    Returns:
        The evaluation. Its time is that of `predict` alone, without the first batch (compilation),
        over all rows that were computed, padding included.

    Raises:
        VqadError: a prediction is not finite, a map is outside [0, 1], the first class is not
            "good", or there are no images.
    """
    if classes[0] != "good":
        raise VqadError(
            f"classes: the first is {classes[0]!r}, not 'good'; list the class of good images first"
        )
    whole, middle = ([StreamingCurve() for _ in classes] for _ in range(2))
    cases: dict[str, Ranked] = {"missed": [], "false alarms": [], "found": [], "quiet": []}
    scores, class_ids = [], []
    window, seconds, timed_rows = None, 0.0, 0
    for number, batch in enumerate(batches):
        start = time.perf_counter()
        predicted = {key: np.asarray(value) for key, value in predict(batch["image"]).items()}
        if number > 0:
            seconds += time.perf_counter() - start
            timed_rows += len(batch["image"])

        for row in np.flatnonzero(batch["valid"]):
            name = names[batch["index"][row]]
            for key, value in predicted.items():
                if not np.isfinite(value[row]).all():
                    raise VqadError(
                        f"{name}: the predicted {key} is not finite; the weights are damaged or "
                        "training diverged, evaluate an earlier checkpoint"
                    )
            score, class_id = float(predicted["score"][row]), int(batch["class_id"][row])
            (bins, tails), truth = bin_scores(predicted["mask"][row]), batch["mask"][row]
            window = centre(truth.shape)
            if not batch.get("has_mask", batch["valid"])[row]:
                bins, tails, truth = bins[:0], tails[:0], truth[:0]  # no pixel of it is known
            whole[class_id].count(bins, tails, truth)
            if window is not None:
                middle[class_id].count(bins[window], tails[window], truth[window])

            build = partial(build_case, predicted, batch, int(row), classes[class_id], name)
            keep_highest(cases["found" if class_id else "false alarms"], k, score, build)
            keep_highest(cases["missed" if class_id else "quiet"], k, -score, build)
            scores.append(score)
            class_ids.append(class_id)

    if not scores:
        raise VqadError("the test split has no images; give a source with a test split")
    protocols = [whole] if window is None else [whole, middle]
    full, *cropped = evaluate_protocols(
        np.array(scores), np.array(class_ids), protocols, classes, resamples
    )
    return Evaluation(
        **vars(full),
        centre=cropped[0] if cropped else None,
        images=len(scores),
        seconds_per_image=seconds / timed_rows if timed_rows else None,
        cases={kind: [case for _, case in kept] for kind, kept in cases.items()},
    )
