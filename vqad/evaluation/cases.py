"""Worst and best cases of an evaluation, kept for a look, and drawn as one picture."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqad.prediction.pictures import COLOUR, to_uint8
from vqad.prediction.results import write_result

_KINDS = {
    "missed": "missed: defective, lowest scores",
    "false alarms": "false alarms: good, highest scores",
    "found": "found: defective, highest scores",
    "quiet": "quiet: good, lowest scores",
}
COLUMNS = ("image", "truth", "mask", "I_gen", "I_spc")
# Pixels: longest side of a panel, space around it, height of a line of text.
PANEL, GAP, LINE = 192, 8, 22
_HEAT = np.array([(0, 0, 0), (110, 0, 60), (230, 60, 20), (255, 190, 40), (255, 255, 255)])


@dataclass(frozen=True)
class Case:
    """One evaluated image: uint8 [h, w, 3] but for the truth and the predicted map.

    The truth is uint8 [h, w] in {0, 1}, the mask float32 [h, w] in [0, 1].
    """

    class_name: str
    name: str
    score: float
    image: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    general: np.ndarray
    specific: np.ndarray


Ranked = list[tuple[float, Case]]


def keep_highest(kept: Ranked, k: int, rank: float, build: Callable[[], Case]) -> None:
    """Puts a case, built only then, among the k of the highest rank; earlier ones win ties."""
    if len(kept) < k or rank > kept[-1][0]:
        kept.append((rank, build()))
        kept.sort(key=lambda each: -each[0])
        del kept[k:]


def build_case(
    predicted: Mapping[str, np.ndarray],
    batch: Mapping[str, np.ndarray],
    row: int,
    class_name: str,
    name: str,
) -> Case:
    """The case of one row of a batch and of what was predicted of it."""
    # Copies, because a view would keep the whole batch alive.
    seen = np.array(batch["image"][row]), np.array(batch["mask"][row])
    drawn = (to_uint8(predicted[key][row]) for key in ("general", "specific"))
    mask = np.array(predicted["mask"][row], np.float32)
    return Case(class_name, name, float(predicted["score"][row]), *seen, mask, *drawn)


def contact_sheet(cases: Mapping[str, Sequence[Case]], path: str | os.PathLike) -> None:
    """Draws cases as a PNG, a row each: image, truth, mask, I_gen, I_spc; a VqadError if it cannot.

    The truth is red on the darkened image, the mask a heat map from black (0) over red and yellow
    to white (1). Panels keep their proportions; the longest side becomes `PANEL` pixels.
    """
    shapes = [case.truth.shape for group in cases.values() for case in group]
    scale = PANEL / max((max(shape) for shape in shapes), default=PANEL)

    def scaled(shape: tuple[int, int]) -> tuple[int, int]:
        return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))

    panel_width = max((scaled(shape)[0] for shape in shapes), default=PANEL)
    width = GAP + len(COLUMNS) * (panel_width + GAP)
    lefts = range(GAP, width, panel_width + GAP)
    small, large = ImageFont.load_default(size=14), ImageFont.load_default(size=17)
    strips: list[Image.Image] = []

    def strip(height: int) -> ImageDraw.ImageDraw:
        strips.append(Image.new("RGB", (width, height), "white"))
        return ImageDraw.Draw(strips[-1])

    titles = strip(GAP + LINE)
    for left, title in zip(lefts, COLUMNS, strict=True):
        titles.text((left, GAP), title, "black", large)
    for kind, group in cases.items():
        heading = strip(LINE + GAP)
        heading.rectangle((0, GAP // 2, width, GAP // 2 + LINE), "#e4e8ee")
        heading.text((GAP, GAP // 2 + 1), _KINDS.get(kind, kind), "black", large)
        if not group:
            strip(LINE).text((GAP, 0), "no such images", "#555555", small)
        for case in group:
            caption = f"{case.class_name}, score {case.score:.4g}, {case.name}"
            strip(LINE).text((GAP, 2), caption, "black", small)
            size = scaled(case.truth.shape)
            strip(size[1] + GAP)
            for left, panel in zip(lefts, _panels(case), strict=True):
                resized = Image.fromarray(panel).resize(size, Image.Resampling.BILINEAR)
                strips[-1].paste(resized, (left, 0))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(strips)).save(buffer, "PNG")
    write_result(path, buffer.getvalue())


def _panels(case: Case) -> list[np.ndarray]:
    grey = np.repeat(case.image.mean(-1, keepdims=True) / 2, 3, -1)  # dim: the truth stands out
    truth = np.where(case.truth[..., None] > 0, COLOUR, grey).astype(np.uint8)
    # Black, red, yellow, white.
    stops = np.linspace(0, 1, len(_HEAT))
    heat = np.stack([np.interp(case.mask, stops, channel) for channel in _HEAT.T], -1)
    return [case.image, truth, heat.round().astype(np.uint8), case.general, case.specific]
