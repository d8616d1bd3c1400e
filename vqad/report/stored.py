"""What `evaluation.json` holds: read, and held against what is predicted now."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from vqad.errors import VqadError
from vqad.evaluation.figures import resampled_image_figures
from vqad.prediction.results import is_number, read_json
from vqad.report.page import Card

_ABOUT = {"checkpoint": str, "step": int, "surface": str, "image_size": list, "score_window": int}
_COMPARED = ("image_auroc", "image_ap")
_NEAR = 1e-3  # of a figure
_ROUNDING = 1e-4  # of a score, computed on another device or in other batches
_AGAIN = "judge with vqad evaluate"


def read_evaluation(workdir: str, step: int) -> dict[str, Any]:
    """The `evaluation.json` of a workdir; a VqadError if damaged or of another step."""
    path = epath.Path(workdir) / "evaluation.json"
    if not path.exists():
        raise VqadError(f"{path}: no such file; {_AGAIN}")
    try:
        evaluation = read_json(path)
        fault = next(_faults(evaluation), None)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise VqadError(f"{path}: cannot be read ({error!r}); {_AGAIN}") from error
    if fault:
        raise VqadError(f"{path}: damaged, {fault}; {_AGAIN}")
    found = evaluation["about"]["step"]
    if found != step:
        raise VqadError(f"{path}: is of step {found}, the model of step {step}; {_AGAIN}")
    return evaluation


def check_cards(cards: Sequence[Card], overall: Mapping[str, Any], name: str) -> None:
    """Compares image figures of what is predicted now with those ``overall`` in `evaluation.json`.

    Raises:
      VqadError: they differ by more than rounding, so the images called ``name`` or their labels
        are others.
    """
    scores = np.array([card.score for card in cards])
    labels = np.array([card.class_id > 0 for card in cards])
    # Scores that are nearly equal may change places: from all against the defective to all for.
    low, high = (
        resampled_image_figures(scores + shift * labels, labels, np.ones((1, len(cards))))
        for shift in (-_ROUNDING, _ROUNDING)
    )
    for key in _COMPARED:
        judged = np.nan if overall[key] is None else float(overall[key])
        lowest, highest = float(low[key][0]), float(high[key][0])
        near = lowest - _NEAR <= judged <= highest + _NEAR
        if not near and not np.isnan([judged, lowest]).all():
            was, now = (
                "not defined" if np.isnan(value) else f"{value:.3f}"
                for value in (judged, (lowest + highest) / 2)
            )
            raise VqadError(
                f"{name}: other images or labels than were judged, whose {key} was {was} and here "
                f"is {now}; judge again with vqad evaluate, or give the same ones with --surface"
            )


def _faults(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """What is of a wrong type, in words; what is missing raises a KeyError."""
    about, size = evaluation["about"], evaluation["about"]["image_size"]
    for key, kind in _ABOUT.items():
        if type(about[key]) is not kind:
            yield f"{key} is {about[key]!r:.40}"
    if [type(side) for side in size] != [int, int]:
        yield f"image_size is {size!r:.40}"
    figures = {f"overall.{key}": evaluation["overall"][key] for key in _COMPARED}
    figures |= {key: evaluation.get(key) for key in ("images", "seconds_per_image")}
    for part, protocol in {"": evaluation, **evaluation}.items():
        if not isinstance(protocol, dict) or "overall" not in protocol:
            continue
        rows = {f"classes.{key}": row for key, row in protocol["classes"].items()}
        for place, row in {"overall": protocol["overall"], **rows}.items():
            name = f"{part}.{place}".removeprefix(".")
            if not isinstance(row, dict):
                yield f"{name} is {row!r:.40}, no set of figures"
                return
            figures |= {f"{name}.{key}": row[key] for key in row if key != "intervals"}
            for key, ends in (row.get("intervals") or {}).items():
                pair = isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends))
                if ends is not None and not pair:
                    yield f"{name}.intervals.{key} is {ends!r:.40}, not two numbers or null"
    for name, value in figures.items():
        if value is not None and not is_number(value):
            yield f"{name} is {value!r:.40}, not a number or null"
