"""An export built, written aside, loaded again, compared, and only then put in its place."""

import dataclasses
import functools
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from vqad.data.decode import resize_image
from vqad.data.surface_demo.draw import CLASSES, draw_tile
from vqad.errors import VqadError, explained
from vqad.interop.export import check, contents, onnx, safetensors, stablehlo
from vqad.interop.load import load
from vqad.paths import check_local, write_atomic

logger = logging.getLogger(__name__)

DRAWN = 10
"""Surfaces that are drawn to compare on, where no images are given: two of each kind."""


FORMATS = {
    "stablehlo": (stablehlo.build, lambda path: stablehlo.load(path).predict_batch),
    "onnx": (onnx.build, lambda path: onnx.open_export(path)[0]),
    "safetensors": (
        lambda trained: functools.partial(safetensors.pack, trained),
        lambda path: check.Model(safetensors.read(path)),
    ),
}
"""From a model to what makes a file's bytes of a description; from its path to the function."""


def export(
    model: str, out: str, format: str, images: Iterable[np.ndarray] | None = None
) -> tuple[check.Figures, int]:
    """Exports a workdir, a checkpoint folder or a safetensors export as one of ``FORMATS``.

    It is compared on images uint8 [h, w, 3] of any size, drawn surfaces if None. ``out`` ends in
    ``.<format>``. Returned are what the check found, and the size of the file in bytes.

    Raises:
      VqadError: no whole model, what the format needs is not installed, the export fails its check,
        or it cannot be written. What was at ``out`` before stays then.
    """
    check_local(out)
    if not out.endswith(f".{format}"):
        raise VqadError(f"{out}: the name must end in .{format}, by which it is known later")
    if os.path.isdir(out):
        raise VqadError(f"{out}: is a folder; give a file")
    trained = load(model)
    if trained.thresholds is not None and contents.usable_limits(trained) is None:
        logger.warning(
            "%s: its thresholds are of tiles or of another size, so that the export gives no "
            "verdicts; run vqad calibrate without --tile first for such",
            model,
        )
    build, open_export = FORMATS[format]
    pack, description = build(trained), contents.describe(trained)
    pictures = drawn(DRAWN) if images is None else images
    resized = (resize_image(picture, trained.image_size) for picture in pictures)
    with (
        explained(out, "cannot be written", "free disk space or permissions", OSError),
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder, f"export.{format}")
        path.write_bytes(pack(json.dumps(description)))
        figures = check.compare(check.Model(trained), open_export(str(path)), resized, out)
        if not figures.images:
            raise VqadError("--images: none given; give at least one")
        description["check"] = {
            "images": "drawn surfaces" if images is None else "given",
            "mask_tolerance": check.MASK_TOLERANCE,
            "tie_tolerance": check.TIE_TOLERANCE,
            "found": dataclasses.asdict(figures),
        }
        path.write_bytes(pack(json.dumps(description)))
        open_export(str(path))
        write_atomic(out, path.read_bytes())
    return figures, os.path.getsize(out)


def drawn(count: int) -> Iterator[np.ndarray]:
    """Surfaces uint8 [h, w, 3], good ones and such with each kind of defect in turn."""
    return (draw_tile(i, CLASSES[i % len(CLASSES)]).image for i in range(count))
