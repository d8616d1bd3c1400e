"""ONNX files by jax2onnx, for ONNX Runtime and others; see `examples/onnx_alone.py`."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import jaxpr_as_fun

from vqad.errors import VqadError
from vqad.interop.export import contents
from vqad.kernels.choice import kernels_for
from vqad.prediction.detector import Detector
from vqad.prediction.thresholds import Thresholds

OPSET = 18

_INSTALL = "pip install 'vqad[onnx]'"


def build(trained: Detector) -> Callable[[str], bytes]:
    """What makes a file of the model, for batches of any size, from its description.

    Raises a VqadError if what it needs is not installed, or the model computes in bfloat16.
    """
    if trained.model.dtype != jnp.float32:
        raise VqadError(
            "--format=onnx: this model computes in bfloat16, ONNX exports in float32; give "
            "--format=stablehlo or safetensors"
        )
    detect = contents.make_detect(trained.model.clone(remat=False), None)
    weights = jax.tree.map(jnp.asarray, trained.variables)
    names: list[str] = []

    def outputs(image: jax.Array) -> tuple[jax.Array, ...]:
        found = detect(weights, image)
        names[:] = found
        return tuple(found.values())

    (n,) = export.symbolic_shape("n")
    image = jax.ShapeDtypeStruct((n, *trained.image_size, 3), jnp.uint8)
    # Traced before jax2onnx replaces functions of jax.numpy by its own.
    with kernels_for("onnx"):
        traced = jax.make_jaxpr(outputs)(image)
    with _quietly():
        try:
            import onnx
            from jax2onnx import to_onnx
        except ImportError as error:
            raise VqadError(f"--format=onnx needs jax2onnx: {_INSTALL}") from error
        model = to_onnx(
            jaxpr_as_fun(traced),
            [image],
            model_name="vqad",
            opset=OPSET,
            input_names=["image"],
            output_names=names,
        )

    def pack(text: str) -> bytes:
        packed = onnx.ModelProto()
        packed.CopyFrom(model)
        onnx.helper.set_model_props(packed, {contents.KEY: text})
        limits = contents.parse(text, "the export").limits
        if limits is not None:
            _add_verdicts(packed, limits)
        return packed.SerializeToString()

    return pack


def _add_verdicts(model: Any, limits: Thresholds) -> None:
    """Adds the outputs ``verdict`` and ``marks``: scores and masks above the thresholds."""
    from onnx import TensorProto, helper

    graph = model.graph
    of = {output.name: output.type.tensor_type.shape for output in graph.output}
    for name, source, limit in (
        ("verdict", "score", limits.score),
        ("marks", "mask", limits.pixel),
    ):
        graph.initializer.append(
            helper.make_tensor(f"{name}_limit", TensorProto.FLOAT, [], [limit])
        )
        graph.node.append(helper.make_node("Greater", [source, f"{name}_limit"], [name]))
        added = helper.make_tensor_value_info(name, TensorProto.BOOL, None)
        added.type.tensor_type.shape.CopyFrom(of[source])
        graph.output.append(added)


def open_export(
    path: str, only: Sequence[str] | None = None
) -> tuple[Callable[[np.ndarray], dict[str, np.ndarray]], contents.Description]:
    """The exported function, run by ONNX Runtime on CPU, and its description.

    Of the outputs ``only`` some can be asked for. Raises a VqadError without ONNX Runtime.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise VqadError(f"{path}: ONNX needs onnxruntime: {_INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of constants that jax2onnx left unused
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    text = session.get_modelmeta().custom_metadata_map.get(contents.KEY, "")
    names = list(only or [output.name for output in session.get_outputs()])

    def predict(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"image": images}), strict=True))

    return predict, contents.parse(text, path)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps what jax2onnx prints, logs and warns of its own parts from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
