"""ONNX exports in the runtimes that run them, at a precision, on this machine's CPU."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vqad.errors import VqadError
from vqad.interop.export import onnx

RUNTIMES = ("onnxruntime", "openvino-f32", "openvino-bf16")
"""What an export may be made for: a runtime and what it computes in."""

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 (AVX512_BF16 or AMX), as far as Linux tells."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def check(runtime: str) -> None:
    """Raises a VqadError for a runtime that is not installed, or a CPU without its bfloat16.

    On such a CPU, OpenVINO would compute in float32 whatever is asked for.
    """
    name = runtime.split("-")[0]
    if importlib.util.find_spec(name) is None:
        extra = {"onnxruntime": "onnx"}.get(name, name)
        raise VqadError(f"{runtime}: {name} is not installed; pip install 'vqad[{extra}]'")
    if runtime == "openvino-bf16" and not cpu_has_bfloat16():
        raise VqadError(
            f"{runtime}: this CPU has neither AVX512_BF16 nor AMX, so OpenVINO computes in float32 "
            "here; run this on such a CPU, or give openvino-f32"
        )


def open_in(runtime: str, path: str, only: Sequence[str] | None = None) -> Run:
    """The function of an ONNX export, run by one of ``RUNTIMES``; of ``only`` some outputs.

    Raises what ``check`` raises.
    """
    check(runtime)
    if runtime == "onnxruntime":
        return onnx.open_export(path, only)[0]
    # Or it would fork this process to tell its makers of the use.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    core = openvino.Core()
    whole = core.read_model(path)
    names = list(only or [output.get_any_name() for output in whole.outputs])
    wanted = openvino.Model([whole.output(name) for name in names], whole.get_parameters())
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": runtime.split("-")[1]}
    request = core.compile_model(wanted, "CPU", hints).create_infer_request()

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = request.infer({"image": images})
        return dict(zip(names, (found[i] for i in range(len(names))), strict=True))

    return run
