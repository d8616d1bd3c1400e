"""What `evaluation.json` holds: read, and held against what is predicted now."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from vqad.errors import VqadError, explained
from vqad.evaluation.figures import resampled_image_figures
from vqad.prediction.results import is_number, read_json
from vqad.report.page import Card

_ABOUT = {"checkpoint": str, "step": int, "surface": str, "image_size": list, "score_window": int}
_COMPARED = ("image_auroc", "image_ap")
_NEAR = 1e-3  # of a figure
_ROUNDING = 1e-4  # of a score, computed on another device or in other batches
_AGAIN = "run vqad evaluate"


def read_evaluation(workdir: str, step: int) -> dict[str, Any]:
    """The `evaluation.json` of a workdir; a VqadError if damaged or of another step."""
    path = epath.Path(workdir) / "evaluation.json"
    if not path.exists():
        raise VqadError(f"{path}: no such file; {_AGAIN}")
    kinds = (AttributeError, KeyError, TypeError, ValueError)
    with explained(path, "damaged or cannot be read", _AGAIN, kinds):
        evaluation = read_json(path)
        _check(evaluation)
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
        before = np.nan if overall[key] is None else float(overall[key])
        lowest, highest = float(low[key][0]), float(high[key][0])
        near = lowest - _NEAR <= before <= highest + _NEAR
        if not near and not np.isnan([before, lowest]).all():
            was, now = (
                "not defined" if np.isnan(value) else f"{value:.3f}"
                for value in (before, (lowest + highest) / 2)
            )
            raise VqadError(
                f"{name}: others than were evaluated, whose {key} was {was} and here "
                f"is {now}; run vqad evaluate again, or give the same ones with --surface"
            )


def _check(evaluation: Mapping[str, Any]) -> None:
    """Refuses what is of a wrong type with a ValueError, or what a wrong type raises."""
    about = evaluation["about"]
    found = {f"about.{key}": type(about[key]) is kind for key, kind in _ABOUT.items()}
    found["image_size"] = [type(side) for side in about["image_size"]] == [int, int]
    numbers = [evaluation["overall"][key] for key in _COMPARED]
    numbers += [evaluation.get(key) for key in ("images", "seconds_per_image")]
    for protocol in (evaluation, *evaluation.values()):
        if isinstance(protocol, dict) and "overall" in protocol:
            for row in (protocol["overall"], *protocol["classes"].values()):
                numbers += [value for key, value in row.items() if key != "intervals"]
                for ends in filter(None, (row.get("intervals") or {}).values()):
                    low, high = ends
                    numbers += [low or 0, high or 0]
    found["a figure"] = all(value is None or is_number(value) for value in numbers)
    if faults := [name for name, fits in found.items() if not fits]:
        raise ValueError(f"{faults[0]} is of a wrong type")
