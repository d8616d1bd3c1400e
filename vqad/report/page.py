"""The page, put together: one file, which asks for nothing from anywhere."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import jinja2
import numpy as np

from vqad import __version__
from vqad.prediction.detector import UNDECIDED
from vqad.prediction.thresholds import Thresholds

_WORDS = {"ap": "AP", "auroc": "AUROC", "aupro": "AUPRO", "aupimo": "AUPIMO", "f1max": "F1max"}


class Card(NamedTuple):
    """An image of the gallery: of a class (0 is good), its score, two `vqad.report.pictures`."""

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
    """Makes the HTML file's content, UTF-8.

    Of what `vqad.evaluation.report.write_json` wrote, which beside ``overall`` and ``classes`` may
    hold more of the same kind under other names, as those of the images' centres; the run's
    configuration; the classes' names, "good" first; at least one test image; and thresholds.
    """
    scores = np.array([card.score for card in cards])
    labels = np.array([card.class_id > 0 for card in cards])
    page = jinja2.Environment(
        loader=jinja2.PackageLoader("vqad", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"name": _name, "sha256": _digest}
    files = resources.files("vqad.report")
    html = page.get_template("template.html").render(
        about=evaluation["about"],
        config=json.dumps(settings, indent=2),
        data={
            "classes": list(classes),
            "calibrated": limits and limits.score,
            "best": best_f1_threshold(scores, labels),
            "images": cards,
        },
        defective=int(labels.sum()),
        evaluation=evaluation,
        limits=limits,
        pixel=limits.pixel if limits else UNDECIDED,
        script=files.joinpath("page.js").read_text("utf-8"),
        style=files.joinpath("page.css").read_text("utf-8"),
        version=__version__,
    )
    return html.encode("utf-8", "backslashreplace")


def best_f1_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """A threshold above which F1 is highest: midway between two scores, or below all of them.

    Of scores float [n] and labels bool [n], whether defective.
    """
    values = np.unique(scores)[::-1].astype(np.float64)
    raised = np.array([np.count_nonzero(scores >= value) for value in values])
    found = np.array([np.count_nonzero(scores[labels] >= value) for value in values])
    at = int(np.argmax(2 * found / (raised + labels.sum())))
    if at + 1 == len(values):
        return float(np.nextafter(values[at], -np.inf))
    return float((values[at] + values[at + 1]) / 2)


def _name(key: str) -> str:
    """What a figure is called: ``image_recall_at_5`` becomes "image recall at 5 %"."""
    words = " ".join(_WORDS.get(word, word) for word in key.split("_"))
    return re.sub(r" at (\d+)$", " at \\1\u00a0%", words)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
