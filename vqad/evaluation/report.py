"""What a judgement leaves behind: `evaluation.json`, a table, a contact sheet of pictures."""

import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqad.errors import VqadError
from vqad.evaluation.cases import Case
from vqad.evaluation.figures import CROP, RESIZED, Figures, Protocol
from vqad.evaluation.judge import Judgement
from vqad.paths import write_whole

_CENTRE = f"centre_{CROP}"
_FIGURES = {
    "image": {
        "image_auroc": "AUROC",
        "image_ap": "AP",
        "image_f1max": "F1max",
        "image_recall_at_1": "R@1%",
        "image_recall_at_5": "R@5%",
    },
    "pixel": {
        "pixel_auroc": "AUROC",
        "pixel_ap": "AP",
        "pixel_f1max": "F1max",
        "pixel_aupro": "AUPRO",
        "pixel_aupimo": "AUPIMO",
    },
}
_COLUMNS = [(key, title) for group in _FIGURES.values() for key, title in group.items()]
_KINDS = {
    "missed": "missed: defective, lowest scores",
    "false alarms": "false alarms: good, highest scores",
    "found": "found: defective, highest scores",
    "quiet": "quiet: good, lowest scores",
}
COLUMNS = ("image", "truth", "mask", "I_gen", "I_spc")
PANEL, GAP, LINE = (
    192,
    8,
    22,
)  # pixels: longest side of a panel, space around it, height of a line of text
_TRUTH_COLOUR = (255, 40, 40)
_HEAT = np.array([(0, 0, 0), (110, 0, 60), (230, 60, 20), (255, 190, 40), (255, 255, 255)])


def _write(path: str | os.PathLike, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise VqadError(
            f"{path}: cannot be written ({error.strerror or error}), what was there is kept; "
            "free some space or choose another folder"
        ) from error


def write_json(judgement: Judgement, path: str | os.PathLike, about: Mapping[str, object]) -> None:
    """Write a judgement as JSON, atomically.

    Keys: `about`; `overall` and `classes[name]`, each with the fields of
    `vqad.evaluation.figures.Figures`; `centre_224`, with `overall` and `classes` of the centre
    crop, or null and then `centre_224_not_defined`, why; `images`; `seconds_per_image`. A figure or
    an interval that is not defined is null.

    Args:
        judgement: from `vqad.evaluation.judge.judge`.
        path: the file, usually `evaluation.json`; folders are made.
        about: what was judged (checkpoint, step, config name), of JSON types.

    Raises:
        VqadError: the file cannot be written; an older one is untouched.
    """
    content = {
        "about": dict(about),
        "overall": asdict(judgement.overall),
        "classes": {name: asdict(figures) for name, figures in judgement.classes.items()},
        _CENTRE: judgement.centre and asdict(judgement.centre),
        "images": judgement.images,
        "seconds_per_image": judgement.seconds_per_image,
    }
    if judgement.centre is None:
        content[f"{_CENTRE}_not_defined"] = (
            f"the paper's crop to {CROP} x {CROP} is of images of {RESIZED} x {RESIZED} alone"
        )
    _write(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _row(name: str, images: object, values: Iterable[float | None]) -> list[str]:
    return [name, str(images), *("n.d." if value is None else f"{value:.3f}" for value in values)]


def _figures_row(name: str, figures: Figures) -> list[str]:
    return _row(name, figures.images, (getattr(figures, key) for key, _ in _COLUMNS))


def _protocol_rows(protocol: Protocol) -> list[list[str]]:
    ends = [protocol.overall.intervals[key] or (None, None) for key, _ in _COLUMNS]
    low, high = zip(*ends, strict=True)
    return [
        *(_figures_row(name, figures) for name, figures in protocol.classes.items()),
        _figures_row("all", protocol.overall),
        _row("  95 % from", "", low),
        _row("         to", "", high),
    ]


def format_table(judgement: Judgement) -> str:
    """A judgement as aligned plain text, first of the whole images, then of their centres.

    One line a defect class and one for all images, with the intervals of the latter below it.
    """
    parts = {"whole images": _protocol_rows(Protocol(judgement.overall, judgement.classes))}
    if judgement.centre is not None:
        parts[f"pixels of the centre {CROP} x {CROP}"] = _protocol_rows(judgement.centre)
    titles = ["class", "images", *(title for _, title in _COLUMNS)]
    every = [titles, *(row for rows in parts.values() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]

    def line(row: list[str]) -> str:
        return "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])

    groups, start = " " * (widths[0] + 2 + widths[1]), 2
    for group, columns in _FIGURES.items():
        span = widths[start : start + len(columns)]
        groups += "  " + f" {group} ".center(sum(span) + 2 * len(span) - 2, "-")
        start += len(columns)
    lines = [groups, line(titles)]
    for name, rows in parts.items():
        lines += [f"{name} ".ljust(len(groups), "-"), *map(line, rows)]
    good = judgement.images - sum(figures.images for figures in judgement.classes.values())
    lines.append(f"Each class is judged against the {good} good images.")
    if any("n.d." in row for row in every):
        lines.append("n.d.: not defined, for want of defective or of enough good images.")
    if judgement.seconds_per_image is not None:
        lines.append(f"Prediction took {judgement.seconds_per_image:.4f} s an image.")
    return "\n".join(lines)


def _heat(mask: np.ndarray) -> np.ndarray:
    """Colours of a map in [0, 1]: black, red, yellow, white. [h, w] to uint8 [h, w, 3]."""
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(mask, stops, _HEAT[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def _panels(case: Case) -> list[np.ndarray]:
    grey = np.repeat(
        case.image.mean(-1, keepdims=True) / 2, 3, -1
    )  # dim, so that the truth stands out
    truth = np.where(case.truth[..., None] > 0, _TRUTH_COLOUR, grey).astype(np.uint8)
    return [case.image, truth, _heat(case.mask), case.general, case.specific]


def _fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, its middle replaced by dots if it is wider than `width` pixels."""
    keep = len(text)
    shown = text
    while font.getlength(shown) > width and keep > 2:
        keep -= 1
        shown = f"{text[: keep // 2]}...{text[-(keep - keep // 2) :]}"
    return shown


def contact_sheet(cases: Mapping[str, Sequence[Case]], path: str | os.PathLike) -> None:
    """Draw cases as a PNG, a row each: image, truth, mask, I_gen, I_spc.

    The truth is red on the darkened image, the mask a heat map from black (0) over red and yellow
    to white (1). Panels keep their proportions; the longest side becomes `PANEL` pixels. Above each
    row stand class, score and name, above each kind of case what it is.

    Args:
        cases: `Judgement.cases`.
        path: the PNG file; folders are made.

    Raises:
        VqadError: the file cannot be written; an older one is untouched.
    """
    shapes = [case.truth.shape for group in cases.values() for case in group]
    longest = max((max(shape) for shape in shapes), default=PANEL)
    sizes = [
        (max(1, round(w * PANEL / longest)), max(1, round(h * PANEL / longest))) for h, w in shapes
    ]
    panel_width = max((w for w, _ in sizes), default=PANEL)
    width = GAP + len(COLUMNS) * (panel_width + GAP)
    height = GAP + LINE + len(cases) * (LINE + GAP) + sum(h + LINE + GAP for _, h in sizes)
    height += LINE * sum(not group for group in cases.values())

    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(size=14), ImageFont.load_default(size=17)
    lefts = [GAP + column * (panel_width + GAP) for column in range(len(COLUMNS))]
    for left, title in zip(lefts, COLUMNS, strict=True):
        draw.text((left, GAP), title, "black", large)
    top = GAP + LINE
    remaining = iter(sizes)
    for kind, group in cases.items():
        draw.rectangle((0, top + GAP // 2, width, top + GAP // 2 + LINE), "#e4e8ee")
        draw.text((GAP, top + GAP // 2 + 1), _KINDS.get(kind, kind), "black", large)
        top += LINE + GAP
        if not group:
            draw.text((GAP, top), "no such images", "#555555", small)
            top += LINE
        for case in group:
            caption = f"{case.class_name}, score {case.score:.4g}, {case.name}"
            draw.text((GAP, top + 2), _fit(caption, small, width - 2 * GAP), "black", small)
            top += LINE
            size = next(remaining)
            for left, panel in zip(lefts, _panels(case), strict=True):
                resized = Image.fromarray(panel).resize(size, Image.Resampling.BILINEAR)
                sheet.paste(resized, (left, top))
            top += size[1] + GAP
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    _write(path, buffer.getvalue())
