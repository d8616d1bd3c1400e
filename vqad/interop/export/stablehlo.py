"""A program for CPU, CUDA and TPU with its weights and description, in one file.

The file is a zip archive without compression: ``program``, which ``jax.export`` serialized, a
function of weights by name and of images; those weights; and the description. As the weights are
arguments, XLA compiles the program that a checkpoint runs: as constants they would be folded into
it, and rounded otherwise.
"""

import functools
import io
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jax import export
from jax.sharding import SingleDeviceSharding

from vqad.errors import VqadError, explained
from vqad.interop.export import contents, safetensors
from vqad.prediction.detector import Detector
from vqad.prediction.jitted import Predict

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, WEIGHTS, METADATA = MEMBERS = ("program", "weights.safetensors", "metadata.json")

# Of each output its dtype and how many axes it has.
_OUTPUTS = {"score": ("float32", 1), "mask": ("float32", 3)}
_OUTPUTS |= dict.fromkeys(contents.CODES, ("int32", 3))
_VERDICTS = {"verdict": ("bool", 1), "marks": ("bool", 3)}
_LONGEST_PROGRAM = 2**26


def build(trained: Detector) -> Callable[[str], bytes]:
    """What makes a file of the model, its program for batches of any size, from a description."""
    detect = contents.make_detect(trained.model, contents.usable_limits(trained))

    def from_flat(weights: Mapping[str, jax.Array], image: jax.Array) -> dict[str, jax.Array]:
        return detect(unflatten_dict(weights, sep="."), image)

    (n,) = export.symbolic_shape("n")
    image = jax.ShapeDtypeStruct((n, *trained.image_size, 3), jnp.uint8)
    exported = export.export(jax.jit(from_flat), platforms=PLATFORMS)
    program = exported(safetensors.flat(trained.variables), image).serialize()
    return functools.partial(pack, trained, bytes(program))


def pack(trained: Detector, program: bytes, text: str) -> bytes:
    """The file's bytes."""
    file = io.BytesIO()
    weights = safetensors.pack(trained, text)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in zip(MEMBERS, (program, weights, text.encode()), strict=True):
            archive.writestr(zipfile.ZipInfo(name), data)  # without the time: same model, same file
    return file.getvalue()


class Program(Detector):
    """A detector that is a program alone, without the network and variables that it was made of."""

    def __init__(self, predict: Predict, description: contents.Description) -> None:
        """Of a function of uint8 [n, h, w, 3] to ``score`` [n] and ``mask`` [n, h, w]."""
        self.predict_batch, self.image_size = predict, description.image_size
        self.thresholds, self.metadata = description.limits, description.metadata
        self.value_range = description.value_range

    @property
    def variables(self) -> NoReturn:
        """Raises a VqadError: there are none."""
        raise VqadError(
            f"{self.metadata['file']}: a program without variables, so that there is no network to "
            "look into; give the run's workdir or a safetensors export"
        )

    model = reconstruct = variables


def load(path: str, image_size: tuple[int, int] | None = None) -> Program:
    """Loads a detector from a file; its program is compiled at its first call for a size of batch.

    Raises a VqadError for an image size that is not the export's own, a damaged file, or another
    program than ``vqad export`` writes.
    """
    members = _read(path)
    description = contents.parse(members[METADATA], path)
    arrays = safetensors.read_bytes(members[WEIGHTS], path)
    fault = "holds no program that vqad export writes and this JAX reads"
    with explained(path, fault, "export it again, with this version"):
        program = export.deserialize(bytearray(members[PROGRAM]))
        _check_program(program, arrays, description)
    size = description.image_size
    if image_size is not None and tuple(image_size) != size:
        raise VqadError(
            f"image_size: {tuple(image_size)}, but {path} was exported for {size[0]} x {size[1]}; "
            "leave it out, or load the folder that it was exported from"
        )
    device = jax.local_devices()[0]
    weights = jax.device_put(arrays, device)
    call = jax.jit(program.call)
    here = SingleDeviceSharding(device)

    def predict(images: np.ndarray) -> dict[str, np.ndarray]:
        return jax.device_get(call(weights, jax.device_put(images, here)))

    return Program(predict, description)


def _read(path: str) -> dict[str, bytes]:
    """The archive's members, not compressed and so of no more memory than the file's size."""
    safetensors.check_plain(path)
    if path.endswith(".onnx"):
        raise VqadError(
            f"{path}: an ONNX file, which ONNX Runtime runs (examples/onnx_alone.py); give a "
            "folder, or an export as StableHLO or safetensors"
        )
    remedy = "give a workdir, a checkpoint folder or what vqad export wrote"
    with (
        explained(path, "neither a folder nor an export of vqad", remedy),
        zipfile.ZipFile(path) as archive,
    ):
        infos = archive.infolist()
        if sorted(info.filename for info in infos) != sorted(MEMBERS):
            raise ValueError(f"does not hold {', '.join(MEMBERS)} alone")
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("is compressed")
        if sum(info.file_size for info in infos) > os.path.getsize(path):
            raise ValueError("its members are said to be larger than the file")
        return {name: archive.read(name) for name in MEMBERS}


def _check_program(
    program: export.Exported, arrays: Mapping[str, np.ndarray], description: contents.Description
) -> None:
    """Raises a ValueError for what is no pure function of these weights and of images."""
    if len(program.mlir_module_serialized) > _LONGEST_PROGRAM:
        raise ValueError("it is too long")
    n, size = program.in_avals[-1].shape[0], description.image_size
    image = jax.ShapeDtypeStruct((n, *size, 3), jnp.uint8)
    leaves, tree = jax.tree.flatten((({**arrays}, image), {}))
    kinds = [[(a.shape, jnp.dtype(a.dtype)) for a in of] for of in (program.in_avals, leaves)]
    if program.in_tree != tree or kinds[0] != kinds[1]:
        raise ValueError("it takes other weights or images than lie beside it")
    wanted = _OUTPUTS | (_VERDICTS if description.limits is not None else {})
    outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
    if {name: (str(a.dtype), len(a.shape)) for name, a in outputs.items()} != wanted:
        raise ValueError("its outputs are others than its description says")
    if outputs["score"].shape != (n,) or outputs["mask"].shape != (n, *size):
        raise ValueError("its outputs have other shapes than its description says")
    if program.ordered_effects or program.unordered_effects or program.nr_devices != 1:
        raise ValueError("it has effects, or is for several devices")
    text = program.mlir_module()
    # What calls code of the process, in place of computing.
    if re.search(r"(?<!stablehlo\.)custom_call|custom_call(?! @shape_assertion\()", text):
        raise ValueError("it calls code that is not in it")
    if re.search(r"stablehlo\.(infeed|outfeed|send|recv|composite)\b", text):
        raise ValueError("it exchanges data with others")
