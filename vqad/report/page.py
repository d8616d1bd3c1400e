"""The page, put together: one file, which asks for nothing from anywhere."""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from vqad import __version__
from vqad.prediction.thresholds import Thresholds
from vqad.report.tables import figures


@dataclasses.dataclass(frozen=True)
class Card:
    """An image of the gallery.

    Attributes:
      class_id: index into the names of the classes; 0 is good.
      name: of the image; any text.
      score: its image score.
      picture, overlay: data URIs, from `vqad.report.pictures`.
    """

    class_id: int
    name: str
    score: float
    picture: str
    overlay: str


def render(
    evaluation: Mapping[str, Any],
    settings: Mapping[str, Any],
    classes: Sequence[str],
    cards: Sequence[Card],
    limits: Thresholds | None,
) -> bytes:
    """Makes the page.

    Args:
      evaluation: what `evaluation.json` holds.
      settings: the run's configuration.
      classes: names of the classes, "good" first.
      cards: the test images, at least one.
      limits: calibrated thresholds, if there are any.

    Returns:
      The HTML file's content, UTF-8.
    """
    scores = np.array([card.score for card in cards])
    labels = np.array([card.class_id > 0 for card in cards])
    best = best_f1_threshold(scores, labels)
    data = {
        "classes": list(classes),
        "calibrated": limits and limits.score,
        "best": best,
        "images": [dataclasses.astuple(card) for card in cards],
    }
    height, width = evaluation["about"]["image_size"]
    parts = {
        "TITLE": escape(f"{evaluation['about']['surface']}: vqad report"),
        "ABOUT": _about(evaluation, len(cards), int(labels.sum())),
        "FIGURES": figures(evaluation),
        "START": _start(limits),
        "PIXEL": f"{limits.pixel if limits else 0.5:.4g}",
        "RATIO": f"{width} / {height}",
        "CONFIG": escape(json.dumps(settings, indent=2)),
        "VERSION": __version__,
        # A "<" could end the script; in JSON it stands only within strings.
        "DATA": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    files = resources.files("vqad.report")
    for name, file in (("STYLE", "page.css"), ("SCRIPT", "page.js")):
        text = files.joinpath(file).read_text("utf-8")
        parts[name], parts[f"{name}_HASH"] = text, _digest(text)
    # Split once, so that what was put in is not searched for places.
    template = files.joinpath("template.html").read_text("utf-8").split("@@")
    filled = [parts[text] if i % 2 else text for i, text in enumerate(template)]
    return "".join(filled).encode("utf-8", "backslashreplace")


def best_f1_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """A threshold above which F1 is highest: midway between two scores, or below all of them.

    Args:
      scores: float [n].
      labels: bool [n], whether defective.
    """
    values = np.unique(scores)[::-1].astype(np.float64)
    raised = np.array([np.count_nonzero(scores >= value) for value in values])
    found = np.array([np.count_nonzero(scores[labels] >= value) for value in values])
    at = int(np.argmax(2 * found / (raised + labels.sum())))
    if at + 1 < len(values):
        return float((values[at] + values[at + 1]) / 2)
    return float(np.nextafter(values[at], -np.inf))


def _about(evaluation: Mapping[str, Any], images: int, defective: int) -> str:
    about = evaluation["about"]
    text = (
        f"{images} test images, {defective} of them defective, at "
        f"{about['image_size'][0]} x {about['image_size'][1]}; checkpoint {about['checkpoint']}, "
        f"step {about['step']}"
    )
    if evaluation.get("seconds_per_image") is not None:
        text += f"; prediction took {evaluation['seconds_per_image']:.4f} s an image"
    return f"<h1><bdi>{escape(about['surface'])}</bdi></h1><p>{escape(text)}.</p>"


def _start(limits: Thresholds | None) -> str:
    if limits is None:
        return (
            "There is no calibrated one. It starts where F1 is highest on these very images, by "
            "their labels: that is optimistic. <code>vqad calibrate</code> sets one by good images "
            "alone."
        )
    return (
        "It starts at the one that <code>vqad calibrate</code> set (dashed): of good images like "
        f"its {limits.images}, at most a share of {limits.rate:.3g} is called defective, on "
        "average over calibrations."
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
