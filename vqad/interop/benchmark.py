"""Runtimes on this machine's CPU, timed side by side: JAX, ONNX Runtime and OpenVINO."""

import dataclasses
import importlib.util
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vqad.data.decode import resize_image
from vqad.interop.export import contents, onnx
from vqad.interop.runtimes import cpu_has_bfloat16, open_in
from vqad.interop.write import drawn
from vqad.prediction.detector import Detector
from vqad.prediction.jitted import make_predict

logger = logging.getLogger(__name__)

Predict = Callable[[np.ndarray], object]

_OUTPUTS = ("score", "mask")  # of every runtime, so that all do the same work
_FEWEST = 5  # timed calls of each, however long they take


class Timing(NamedTuple):
    """What was measured of a runtime with batches of one size."""

    runtime: str  # its name
    dtype: str  # what it computes in
    batch: int  # images at a time
    warm_up: float  # seconds of its first call, which compiles, or makes plans
    seconds: list[float]  # of each call after that


def missing(module: str, extra: str) -> bool:
    """Whether a runtime is not installed, which is told with how to install it."""
    if importlib.util.find_spec(module) is not None:
        return False
    logger.warning("%s is not installed and left out; pip install 'vqad[%s]'", module, extra)
    return True


def measure(trained: Detector, batches: Sequence[int], seconds: float) -> Iterator[Timing]:
    """Times runtimes, call by call in turns, for some seconds with batches of each size."""
    opened = list(_runtimes(trained))
    for batch in batches:
        images = np.stack([resize_image(image, trained.image_size) for image in drawn(batch)])
        timings = [
            Timing(name, dtype, batch, _timed(predict, images), [])
            for name, dtype, predict in opened
        ]
        for *_, predict in opened:  # a second call, which may still fill buffers
            predict(images)
        while any(sum(one.seconds) < seconds or len(one.seconds) < _FEWEST for one in timings):
            for timing, (*_, predict) in zip(timings, opened, strict=True):
                timing.seconds.append(_timed(predict, images))
        yield from timings


def _timed(predict: Predict, images: np.ndarray) -> float:
    begun = time.perf_counter()
    predict(images)
    return time.perf_counter() - begun


def _runtimes(trained: Detector) -> Iterator[tuple[str, str, Predict]]:
    """Names, dtypes and functions of what is installed; all see float32 weights."""
    dtypes = ["float32", "bfloat16"]
    if not cpu_has_bfloat16():
        logger.info("bfloat16 is left out: this CPU has neither AVX512_BF16 nor AMX")
        dtypes.remove("bfloat16")
    models = {dtype: trained.model.clone(dtype=jax.numpy.dtype(dtype)) for dtype in dtypes}
    for dtype, model in models.items():
        yield "JAX", dtype, make_predict(model, trained.variables, outputs=_OUTPUTS)
    if missing("jax2onnx", "onnx") or missing("onnxruntime", "onnx"):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        pack = onnx.build(dataclasses.replace(trained, model=models["float32"]))
        Path(path).write_bytes(pack(json.dumps(contents.describe(trained))))
        yield "ONNX Runtime", "float32", open_in("onnxruntime", path, _OUTPUTS)
        if missing("openvino", "openvino"):
            return
        for dtype in dtypes:
            runtime = {"float32": "openvino-f32", "bfloat16": "openvino-bf16"}[dtype]
            yield "OpenVINO", dtype, open_in(runtime, path, _OUTPUTS)


def table(timings: Sequence[Timing]) -> str:
    """A Markdown table of timings."""
    lines = [
        "| runtime | dtype | batch | images/s | median ms | p95 ms | calls | warm-up s |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for timing in timings:
        runtime, dtype, batch, warm_up, seconds = timing
        median, late = 1e3 * np.quantile(seconds, [0.5, 0.95])
        speed = batch * len(seconds) / sum(seconds)
        lines.append(
            f"| {runtime} | {dtype} | {batch} | {speed:.1f} | {median:.1f} | {late:.1f} | "
            f"{len(seconds)} | {warm_up:.1f} |"
        )
    return "\n".join(lines)
