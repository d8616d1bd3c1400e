"""ONNX files by jax2onnx, for ONNX Runtime and others; see `examples/onnx_alone.py`."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import jaxpr_as_fun

from vqad.errors import VqadError
from vqad.interop.export import contents
from vqad.kernels.choice import kernels_for
from vqad.prediction.detector import Detector

KEY = "vqad"
"""Entry of the file's metadata that holds the description."""

OPSET = 18

_INSTALL = "pip install 'vqad[onnx]'"


def build(trained: Detector) -> bytes:
    """The model as ONNX, weights inside, for batches of any size.

    Raises:
      VqadError: what it needs is not installed, or the model computes in bfloat16.
    """
    if trained.model.dtype != jnp.float32:
        raise VqadError(
            "--format=onnx: this model computes in bfloat16, ONNX exports in float32; give "
            "--format=stablehlo or safetensors"
        )
    limits = contents.usable_limits(trained)
    judge = contents.judging(trained.model.clone(remat=False), limits)
    weights = jax.tree.map(jnp.asarray, trained.variables)
    names: list[str] = []

    def outputs(image: jax.Array) -> tuple[jax.Array, ...]:
        found = judge(weights, image)
        names[:] = found
        return tuple(found.values())

    (n,) = export.symbolic_shape("n")
    image = jax.ShapeDtypeStruct((n, *trained.image_size, 3), jnp.uint8)
    # Traced before jax2onnx replaces functions of jax.numpy by its own.
    with kernels_for("onnx"):
        traced = jax.make_jaxpr(outputs)(image)
    with _quietly():
        try:
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
    return model.SerializeToString()


def pack(model: bytes, metadata: str) -> bytes:
    """The file's bytes, with the description."""
    import onnx

    whole = onnx.load_model_from_string(model)
    onnx.helper.set_model_props(whole, {KEY: metadata})
    return whole.SerializeToString()


def open_export(
    path: str, only: Sequence[str] | None = None
) -> tuple[Callable[[np.ndarray], dict[str, np.ndarray]], contents.Description]:
    """The exported function, run by ONNX Runtime on CPU, and its description.

    Args:
      path: the file.
      only: the outputs that are wanted; all if None.

    Raises:
      VqadError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise VqadError(f"{path}: ONNX needs onnxruntime: {_INSTALL}") from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    text = session.get_modelmeta().custom_metadata_map.get(KEY, "")
    names = list(only or [output.name for output in session.get_outputs()])

    def predict(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"image": images}), strict=True))

    return predict, contents.parse(text, path)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps what jax2onnx prints and warns of its own parts from the user."""
    loggers = [logging.getLogger(name) for name in ("jax2onnx", "onnx_ir")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
