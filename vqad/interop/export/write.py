"""An export built, written beside its place, loaded again, compared, and only then put there."""

import contextlib
import dataclasses
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vqad.data.decode import resize_image
from vqad.data.surface_demo.draw import CLASSES, draw_tile
from vqad.errors import VqadError
from vqad.interop.export import check, contents, onnx, safetensors, stablehlo
from vqad.interop.load import load
from vqad.paths import check_local
from vqad.prediction.detector import Detector

logger = logging.getLogger(__name__)

DRAWN = 10
"""Surfaces that are drawn to compare on, where no images are given: two of each kind."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
      build: makes what takes long to make, from the model.
      pack: the file's bytes from the model, what was built, and the description.
      open: from a file's path to the exported function and the description.
    """

    build: Callable[[Detector], Any]
    pack: Callable[[Detector, Any, str], bytes]
    open: Callable[[str], tuple[Callable[[np.ndarray], check.Outputs], contents.Description]]


def _open_weights(path: str) -> tuple[Callable[[np.ndarray], check.Outputs], Any]:
    trained = safetensors.read(path)
    return check.Model(trained), trained


FORMATS = {
    "stablehlo": Format(stablehlo.build, stablehlo.pack, stablehlo.open_export),
    "onnx": Format(onnx.build, lambda _, model, text: onnx.pack(model, text), onnx.open_export),
    "safetensors": Format(
        lambda _: None, lambda trained, _, text: safetensors.pack(trained, text), _open_weights
    ),
}


def export(
    model: str, out: str, format: str, images: Iterable[np.ndarray] | None = None
) -> tuple[check.Figures, int]:
    """Exports a model.

    Args:
      model: a run's workdir, a checkpoint folder, or a safetensors export.
      out: the file to write; its name ends in ``.<format>``.
      format: one of ``FORMATS``.
      images: uint8 [h, w, 3] to compare on, of any size; drawn surfaces if None.

    Returns:
      What the check found, and the size of the file in bytes.

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
    how = FORMATS[format]
    built = how.build(trained)
    description = contents.describe(trained)
    pictures = _drawn() if images is None else images
    resized = (resize_image(picture, trained.image_size) for picture in pictures)
    with _beside(out) as path:
        path.write_bytes(how.pack(trained, built, contents.text(description)))
        loaded, _ = how.open(str(path))
        figures = check.compare(check.Model(trained), loaded, resized, out)
        if not figures.images:
            raise VqadError("--images: none given; give at least one")
        description["check"] = {
            "images": "drawn surfaces" if images is None else "given",
            "mask_tolerance": check.MASK_TOLERANCE,
            "tie_tolerance": check.TIE_TOLERANCE,
            "found": dataclasses.asdict(figures),
        }
        path.write_bytes(how.pack(trained, built, contents.text(description)))
        how.open(str(path))
        size = path.stat().st_size
    return figures, size


def _drawn() -> Iterator[np.ndarray]:
    return (draw_tile(i, CLASSES[i % len(CLASSES)]).image for i in range(DRAWN))


@contextlib.contextmanager
def _beside(out: str) -> Iterator[Path]:
    """A file in the folder of ``out`` that takes its place at the end, unless something fails."""
    target = Path(out)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            path = Path(file.name)
        try:
            yield path
            path.chmod(0o644)
            os.replace(path, target)
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise VqadError(
            f"{out}: cannot be written ({error.strerror or error}); free disk space or permissions"
        ) from error
