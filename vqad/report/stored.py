"""What `evaluation.json` holds: read, and held against what is predicted now."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from vqad.errors import VqadError
from vqad.evaluation.bootstrap import resampled_image_figures
from vqad.paths import is_remote

if TYPE_CHECKING:
    from vqad.report.page import Card

_COMPARED = ("image_auroc", "image_ap")
_NEAR = 1e-3  # of a figure
_ROUNDING = 1e-4  # of a score, computed on another device or in other batches
_AGAIN = "judge with python launch/main.py --config=... --workdir=... --mode=evaluate"


def read_evaluation(workdir: str, step: int) -> dict[str, Any]:
    """Reads `evaluation.json`.

    Args:
      workdir: the run's.
      step: that of the model.

    Raises:
      VqadError: it is missing or damaged, or of another step.
    """
    path = epath.Path(workdir) / "evaluation.json"
    if not path.exists():
        raise VqadError(f"{path}: no such file; {_AGAIN}")
    try:
        if not is_remote(path) and not Path(path).is_file():
            raise ValueError("not a file")
        evaluation = json.loads(path.read_text())
        about = evaluation["about"]
        missing = {"overall", "classes", "images"} - evaluation.keys()
        missing |= {"checkpoint", "step", "surface", "image_size", "score_window"} - about.keys()
        fault = None if missing else next(_faults(evaluation), None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VqadError(f"{path}: cannot be read ({error!r}); {_AGAIN}") from error
    if missing:
        raise VqadError(f"{path}: holds no {', '.join(sorted(missing))}; {_AGAIN}")
    if fault:
        raise VqadError(f"{path}: damaged, {fault}; {_AGAIN}")
    if about["step"] != step:
        raise VqadError(f"{path}: is of step {about['step']}, the model of step {step}; {_AGAIN}")
    return evaluation


def check_cards(cards: Sequence["Card"], overall: Mapping[str, Any], name: str) -> None:
    """Compares the image figures of what is predicted now with those that were judged.

    Args:
      cards: the test images.
      overall: the figures of all images in `evaluation.json`.
      name: what a message calls the test images.

    Raises:
      VqadError: they differ by more than rounding, so the images or their labels are others.
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
                f"is {now}; judge again with --mode=evaluate, or give the same ones with --surface"
            )


def _faults(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """What is of a wrong type, in words."""
    about = evaluation["about"]
    for key, kind in (("checkpoint", str), ("surface", str), ("score_window", int)):
        if type(about[key]) is not kind:
            yield f"{key} is {about[key]!r:.40}"
    size = about["image_size"]
    if not isinstance(size, list) or [type(side) for side in size] != [int, int]:
        yield f"image_size is {size!r:.40}"
    if not _is_figure(evaluation.get("seconds_per_image")):
        yield f"seconds_per_image is {evaluation['seconds_per_image']!r:.40}"
    absent = set(_COMPARED) - dict(evaluation["overall"]).keys()
    if absent:
        yield f"overall holds no {', '.join(sorted(absent))}"
    yield from _protocol_faults("", evaluation)
    for name, value in evaluation.items():
        if isinstance(value, dict) and "overall" in value:
            yield from _protocol_faults(f"{name}.", value)


def _protocol_faults(name: str, protocol: Mapping[str, Any]) -> Iterator[str]:
    yield from _row_faults(f"{name}overall", protocol["overall"])
    for key, row in dict(protocol["classes"]).items():
        yield from _row_faults(f"{name}classes.{key}", row)


def _row_faults(name: str, row: object) -> Iterator[str]:
    if not isinstance(row, dict):
        yield f"{name} is {row!r:.40}, no set of figures"
        return
    for key, value in row.items():
        if key != "intervals" and not _is_figure(value):
            yield f"{name}.{key} is {value!r:.40}, not a number or null"
    for key, ends in (row.get("intervals") or {}).items():
        pair = isinstance(ends, list) and len(ends) == 2 and None not in ends
        if ends is not None and not (pair and all(map(_is_figure, ends))):
            yield f"{name}.intervals.{key} is {ends!r:.40}, not two numbers or null"


def _is_figure(value: object) -> bool:
    if value is None:
        return True
    # Neither a bool nor NaN, nor a whole number beyond all floats.
    return isinstance(value, int | float) and type(value) is not bool and abs(value) < 1e300
