"""What an evaluation leaves behind: `evaluation.json`, and a table."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields

from vqad.evaluation.figures import CROP, RESIZED, Figures, Protocol
from vqad.evaluation.predictions import Evaluation
from vqad.prediction.results import write_result

_CENTRE = f"centre_{CROP}"
_TITLES = {
    "auroc": "AUROC",
    "ap": "AP",
    "f1max": "F1max",
    "recall_at_1": "R@1%",
    "recall_at_5": "R@5%",
    "aupro": "AUPRO",
    "aupimo": "AUPIMO",
}
_COLUMNS = [field.name for field in fields(Figures) if "_" in field.name]


def write_json(
    evaluation: Evaluation, path: str | os.PathLike, about: Mapping[str, object]
) -> None:
    """Writes an evaluation as JSON, atomically.

    Keys: `about`; `overall` and `classes[name]`, each with the fields of
    `vqad.evaluation.figures.Figures`; `centre_224`, with `overall` and `classes` of the centre
    crop, or null and then `centre_224_not_defined`, why; `images`; `seconds_per_image`. A figure or
    an interval that is not defined is null.

    Raises:
        VqadError: the file cannot be written; an older one is untouched.
    """
    content = {
        "about": dict(about),
        **asdict(Protocol(evaluation.overall, evaluation.classes)),
        _CENTRE: evaluation.centre and asdict(evaluation.centre),
        "images": evaluation.images,
        "seconds_per_image": evaluation.seconds_per_image,
    }
    if evaluation.centre is None:
        content[f"{_CENTRE}_not_defined"] = (
            f"the paper's crop to {CROP} x {CROP} is of images of {RESIZED} x {RESIZED} alone"
        )
    write_result(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def format_table(evaluation: Evaluation) -> str:
    """An evaluation as aligned text: a line a defect class, and all images with intervals."""
    parts = {"whole images": _rows(evaluation)}
    if evaluation.centre is not None:
        parts[f"pixels of the centre {CROP} x {CROP}"] = _rows(evaluation.centre)
    titles = ["class", "images", *(_TITLES[key.partition("_")[2]] for key in _COLUMNS)]
    every = [titles, *(row for rows in parts.values() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]

    def line(row: list[str]) -> str:
        return "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])

    groups = " " * (widths[0] + 2 + widths[1])
    for group in ("image", "pixel"):
        span = [w for key, w in zip(_COLUMNS, widths[2:], strict=True) if key.startswith(group)]
        groups += "  " + f" {group} ".center(sum(span) + 2 * len(span) - 2, "-")
    lines = [groups, line(titles)]
    for name, rows in parts.items():
        lines += [f"{name} ".ljust(len(groups), "-"), *map(line, rows)]
    good = evaluation.images - sum(figures.images for figures in evaluation.classes.values())
    lines.append(f"Each class is evaluated against the {good} good images.")
    if any("n.d." in row for row in every):
        lines.append("n.d.: not defined, for want of defective or of enough good images.")
    if evaluation.seconds_per_image is not None:
        lines.append(f"Prediction took {evaluation.seconds_per_image:.4f} s an image.")
    return "\n".join(lines)


def _rows(protocol: Protocol) -> list[list[str]]:
    def row(name: str, images: object, values: Mapping[str, float | None]) -> list[str]:
        cells = ["n.d." if values[key] is None else f"{values[key]:.3f}" for key in _COLUMNS]
        return [name, str(images), *cells]

    ends = {key: protocol.overall.intervals[key] or (None, None) for key in _COLUMNS}
    return [
        *(row(name, each.images, vars(each)) for name, each in protocol.classes.items()),
        row("all", protocol.overall.images, vars(protocol.overall)),
        row("  95 % from", "", {key: low for key, (low, _) in ends.items()}),
        row("         to", "", {key: high for key, (_, high) in ends.items()}),
    ]
