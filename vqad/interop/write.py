"""An export built, written aside, loaded again, compared, and only then put in its place."""

import dataclasses
import functools
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from vqad.config.stored import get_config
from vqad.data.decode import Decoded, resize_image
from vqad.data.numbers import ValueRange
from vqad.data.surface_demo.draw import CLASSES, draw_tile
from vqad.errors import VqadError, explained
from vqad.interop import runtimes
from vqad.interop.export import check, contents, onnx, safetensors, stablehlo
from vqad.interop.load import load
from vqad.paths import check_local, write_atomic
from vqad.prediction import calibration
from vqad.prediction.detector import Detector
from vqad.prediction.jitted import Predict
from vqad.prediction.thresholds import conformal_rank

logger = logging.getLogger(__name__)

Pictures = Callable[[ValueRange | None], Iterable[Decoded]]
"""What reads them by a range of values."""

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
    model: str,
    out: str,
    format: str,
    images: Pictures | None = None,
    runtime: str | None = None,
    good: Pictures | None = None,
) -> tuple[check.Figures, int]:
    """Exports a workdir, a checkpoint folder or a safetensors export as one of ``FORMATS``.

    It is compared on pictures of any size, drawn surfaces if None. ``out`` ends in ``.<format>``.
    For one of ``runtimes.RUNTIMES`` an ONNX file gets thresholds of its own there, by ``good``
    pictures or, if None, by those that the run held out, and is compared there. Returned are what
    the check found, and the size of the file in bytes.

    Raises:
      VqadError: no whole model, what the format or the runtime needs is not installed, no good
        images for the runtime, the export fails its check, or it cannot be written. What was at
        ``out`` before stays then.
    """
    check_local(out)
    if not out.endswith(f".{format}"):
        raise VqadError(f"{out}: the name must end in .{format}, by which it is known later")
    if os.path.isdir(out):
        raise VqadError(f"{out}: is a folder; give a file")
    if runtime and format != "onnx":
        raise VqadError(f"--for={runtime}: runs ONNX files; give --format=onnx")
    if runtime:
        runtimes.check(runtime)
    trained = load(model)
    if runtime:
        pictures = _held_out(trained, model) if good is None else _read(good, trained)
        kept = [resize_image(picture, trained.image_size) for picture in pictures]
        limits = trained.thresholds
        rate = 0.01 if limits is None else limits.rate
        try:
            conformal_rank(len(kept), rate)  # too few are told before the work
        except VqadError as error:
            raise VqadError(
                f"--for={runtime}: {error}; the rate is the model's (vqad calibrate --false-alarms)"
            ) from error
    build, open_export = FORMATS[format]
    pack, compare, ours = build(trained), check.compare, trained
    if runtime:
        open_export = functools.partial(runtimes.open_in, runtime)
        limits = _in_runtime(trained, pack, open_export).calibrate(kept, rate)
        logger.info("thresholds in %s: score %.6g, pixel %.6g", runtime, limits.score, limits.pixel)
        trained = dataclasses.replace(trained, thresholds=limits)
        if runtime == "openvino-bf16":  # codes differ there, so that the model's own verdicts tell
            compare = check.compare_loosely
        else:
            ours = trained
    elif trained.thresholds is not None and contents.usable_limits(trained) is None:
        logger.warning(
            "%s: its thresholds are of tiles or of another size, so that the export gives no "
            "verdicts; run vqad calibrate without --tile first for such",
            model,
        )
    description = contents.describe(trained) | {"runtime": runtime}
    pictures = drawn(DRAWN) if images is None else _read(images, trained)
    resized = (resize_image(picture, trained.image_size) for picture in pictures)
    with (
        explained(out, "cannot be written", "free disk space or permissions", OSError),
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder, f"export.{format}")
        path.write_bytes(pack(json.dumps(description)))
        figures = compare(check.Model(ours), open_export(str(path)), resized, out)
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


def _read(pictures: Pictures, trained: Detector) -> Iterator[np.ndarray]:
    return (found.image for found in pictures(trained.value_range))


def _held_out(trained: Detector, model: str) -> Iterator[np.ndarray]:
    """The good images that a run's training held out; a VqadError where there are none."""
    workdir = Path(trained.metadata.get("folder", model)).parent
    if (workdir / "config.json").is_file():
        config = get_config(str(workdir))
        if config.calibration.held_out:
            return calibration.held_out_pictures(config, trained)
    raise VqadError(f"{model}: held no good images out; give --good PICTURES to set thresholds by")


def _in_runtime(
    trained: Detector, pack: Callable[[str], bytes], open_export: Callable[[str], Predict]
) -> Detector:
    """The model without thresholds, as its export runs."""
    there = dataclasses.replace(trained, thresholds=None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "export.onnx")
        path.write_bytes(pack(json.dumps(contents.describe(there))))
        there.predict_batch = open_export(str(path))
    return there


def drawn(count: int) -> Iterator[np.ndarray]:
    """Surfaces uint8 [h, w, 3], good ones and such with each kind of defect in turn."""
    return (draw_tile(i, CLASSES[i % len(CLASSES)]).image for i in range(count))
