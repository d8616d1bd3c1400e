"""Reading PyTorch checkpoints of DSR: the authors' files and anomalib's checkpoints.

Files are read with `torch.load(weights_only=True)`, which builds tensors and plain containers and
refuses everything else, so that reading a file from elsewhere cannot run its code.
"""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vqad.errors import VqadError

FILE_MARKS = {
    "vq_model": "vq_model",
    "subspace_restriction_hi": "subspace_restriction_hi",
    "subspace_restriction_lo": "subspace_restriction_lo",
    "image_recon_module": "image_recon_module",
    "anomaly_det_module": "anomaly_det_module",
    # the authors' training writes "_upsample", their test reads "upsample_module"
    "upsample_module": "_upsample",
}
"""What the name of each part's file contains in the authors' checkpoint directories."""

ANOMALIB_PREFIXES = {
    "vq_model": "model.discrete_latent_model.",
    "subspace_restriction_hi": "model.subspace_restriction_module_hi.",
    "subspace_restriction_lo": "model.subspace_restriction_module_lo.",
    "image_recon_module": "model.image_reconstruction_network.",
    "anomaly_det_module": "model.anomaly_detection_module.",
    "upsample_module": "model.upsampling_module.",
}
"""The prefix of each part's tensors in the state dict of anomalib's `Dsr`."""

ANOMALIB_IGNORED = (
    "pre_processor.",
    "post_processor.",
    "evaluator.",
    "image_threshold.",
    "pixel_threshold.",
    "image_metrics.",
    "pixel_metrics.",
    "normalization_metrics.",
)
"""What anomalib keeps beside the networks, thresholds and metrics of its own run; not imported."""


@dataclass(frozen=True)
class TorchCheckpoint:
    """State dicts read from a PyTorch checkpoint.

    Attributes:
        format: `authors` (BGR images) or `anomalib` (RGB images).
        files: Per part its state dict as arrays, as `authors_to_variables` takes it.
        names: Per part the prefix that its tensors have in the source, for error messages.
        sources: Names of the files read.
        ignored: Tensors beside the networks that were left out.
    """

    format: str
    files: dict[str, dict[str, np.ndarray]]
    names: dict[str, str]
    sources: list[str]
    ignored: list[str] = field(default_factory=list)


def read_checkpoint(path: str | Path) -> TorchCheckpoint:
    """Reads a directory or one file of the authors, or a Lightning checkpoint of anomalib's `Dsr`.

    Of the latter the state dict alone will do.

    Of anomalib's tensors those under `ANOMALIB_IGNORED` are left out; any other beside the networks
    is an error.

    Raises:
        VqadError: There is nothing at `path`, or it cannot be read safely, or is something else.
    """
    path = Path(path)
    if path.is_dir():
        return read_authors(path)
    content = _load(path)
    if any(str(name).startswith(tuple(ANOMALIB_PREFIXES.values())) for name in content):
        content = {"state_dict": content}
    return _anomalib(path, content) if "state_dict" in content else _stage_one(path, content)


def read_authors(path: str | Path) -> TorchCheckpoint:
    """Reads the authors' checkpoints.

    Args:
        path: A directory with one file (`.pckl`, `.pth` or `.pt`) for each part, recognised by
            `FILE_MARKS` in its name; a directory with the stage-1 file alone; or that file.

    Raises:
        VqadError: A part has no file or several, a file is no part or cannot be read safely.
    """
    path = Path(path)
    if not path.is_dir():
        return _stage_one(path, _load(path))
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix not in (".pckl", ".pth", ".pt"):
            continue
        parts = [part for part, mark in FILE_MARKS.items() if mark in file.name]
        if len(parts) != 1:
            raise VqadError(
                f"{file}: the name tells no part of DSR; keep only files whose names contain "
                f"one of {', '.join(FILE_MARKS.values())}"
            )
        if parts[0] in found:
            raise VqadError(
                f"{path}: {found[parts[0]].name} and {file.name} are both {parts[0]}; "
                "give a directory with the files of one object"
            )
        found[parts[0]] = file
    absent = [part for part in FILE_MARKS if part not in found]
    if absent and set(found) != {"vq_model"}:
        raise VqadError(
            f"{path}: no file for {', '.join(absent)}; give all six, or the vq_model file alone"
        )
    return TorchCheckpoint(
        format="authors",
        files={part: _arrays(file, _load(file)) for part, file in found.items()},
        names={part: f"{file.name}: " for part, file in found.items()},
        sources=[file.name for file in found.values()],
    )


def _stage_one(path: Path, content: Mapping[str, Any]) -> TorchCheckpoint:
    files = {"vq_model": _arrays(path, content)}
    return TorchCheckpoint("authors", files, {"vq_model": f"{path.name}: "}, [path.name])


def _anomalib(path: Path, content: Mapping[str, Any]) -> TorchCheckpoint:
    state = content.get("state_dict")
    if not isinstance(state, Mapping):
        raise VqadError(f"{path}: has no state_dict; give a Lightning checkpoint of anomalib's Dsr")
    files: dict[str, dict[str, np.ndarray]] = {part: {} for part in ANOMALIB_PREFIXES}
    ignored, left = [], []
    for name, value in state.items():
        name = str(name)
        part = next((p for p, prefix in ANOMALIB_PREFIXES.items() if name.startswith(prefix)), None)
        if part is not None:
            inner = name.removeprefix(ANOMALIB_PREFIXES[part])
            files[part] |= _arrays(path, {inner: value})
        elif name.startswith(ANOMALIB_IGNORED):
            ignored.append(name)
        else:
            left.append(name)
    if left:
        raise VqadError(
            f"{path}: left over: {', '.join(left)}; give an unchanged checkpoint of anomalib's Dsr"
        )
    return TorchCheckpoint("anomalib", files, dict(ANOMALIB_PREFIXES), [path.name], ignored)


def _load(path: Path) -> Mapping[str, Any]:
    torch = _torch()
    if not path.is_file():
        raise VqadError(f"{path}: no such file or directory; give a PyTorch checkpoint of DSR")
    _check_stored(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        culprit = re.search(r"GLOBAL [\w.]+|Unsupported operand \d+", str(error))
        reason = culprit[0] if culprit else " ".join(f"{type(error).__name__} {error}".split())[:80]
        raise VqadError(
            f"{path}: refused, the file is damaged or holds more than plain tensors, which could "
            f"run code ({reason}); if you trust it, load it in PyTorch and save again its "
            "plain tensors alone"
        ) from error
    if not isinstance(content, Mapping):
        raise VqadError(
            f"{path}: holds a {type(content).__name__}, not a state_dict; save that alone"
        )
    return content


def _check_stored(path: Path) -> None:
    """Refuses a zip whose members are larger than they are stored, which PyTorch writes none of."""
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # PyTorch's older format, or for PyTorch to refuse
    if claimed > path.stat().st_size:
        raise VqadError(
            f"{path}: refused, its members are said to have {claimed:,} bytes and the file has "
            "fewer; save it again in PyTorch"
        )


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor with each of its numbers in memory, once."""
    torch = _torch()
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _arrays(path: Path, tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    odd = [
        str(name)
        for name, value in tensors.items()
        if not isinstance(name, str) or not _is_plain(value)
    ]
    if odd:
        raise VqadError(
            f"{path}: {', '.join(odd)}: no plain tensor; give a state_dict of DSR alone"
        )
    return {
        name: (value.float() if value.is_floating_point() else value).detach().numpy()
        for name, value in tensors.items()
    }


def _torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise VqadError(
            "reading PyTorch checkpoints needs PyTorch: pip install vqad[torch]"
        ) from error
    return torch
