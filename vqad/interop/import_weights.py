"""PyTorch checkpoints of DSR, the authors' files and anomalib's, turned into vqad checkpoints.

Files are read with `torch.load(weights_only=True)`, which builds tensors and plain containers and
refuses everything else, so that reading a file from elsewhere cannot run its code.
"""

import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vqad.checkpoints import save_weights
from vqad.errors import VqadError, reason
from vqad.interop.authors import authors_to_variables, bgr_to_rgb, infer_sizes
from vqad.interop.authors_table import PARTS
from vqad.paths import check_local

# What anomalib keeps beside the networks, thresholds and metrics of its own run; not imported.
_IGNORED = re.compile(
    r"(pre_processor|post_processor|evaluator|(image|pixel)_threshold"
    r"|(image|pixel|normalization)_metrics)\."
)
_PREFIXES = {part: of.anomalib for part, of in PARTS.items()}
# What the name of each part's file contains in the authors' checkpoint directories; their training
# writes "_upsample", their test reads "upsample_module".
_FILE_MARKS = {part: part for part in PARTS} | {"upsample_module": "_upsample"}


@dataclass(frozen=True)
class TorchCheckpoint:
    """State dicts read from a PyTorch checkpoint."""

    format: str  # `authors` (BGR images) or `anomalib` (RGB images)
    files: dict[str, dict[str, np.ndarray]]  # as `authors_to_variables` takes them
    names: dict[str, str]  # what comes before the tensors of each part there
    sources: list[str]  # names of the files read
    ignored: list[str] = field(default_factory=list)  # tensors beside the networks


def read_checkpoint(path: str | Path) -> TorchCheckpoint:
    """Reads what `import_weights` takes as `src`; raises a VqadError for anything else."""
    path = Path(path)
    parts = _parts(path) if path.is_dir() else {"vq_model": path}
    content = {part: _load(file) for part, file in parts.items()}
    if not path.is_dir():
        state = content["vq_model"]
        if "state_dict" in state:
            return _anomalib(path, state["state_dict"])
        if any(str(name).startswith(tuple(_PREFIXES.values())) for name in state):
            return _anomalib(path, state)
    return TorchCheckpoint(
        format="authors",
        files={part: _arrays(file, content[part]) for part, file in parts.items()},
        names={part: f"{file.name}: " for part, file in parts.items()},
        sources=[file.name for file in parts.values()],
    )


def _parts(folder: Path) -> dict[str, Path]:
    """The file of each part in a directory of the authors."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix not in (".pckl", ".pth", ".pt"):
            continue
        part = next((part for part, mark in _FILE_MARKS.items() if mark in file.name), None)
        if part is None:
            raise VqadError(
                f"{file}: the name tells no part of DSR; keep only files whose names contain "
                f"one of {', '.join(_FILE_MARKS.values())}"
            )
        if part in found:
            raise VqadError(
                f"{folder}: {found[part].name} and {file.name} are both {part}; give a directory "
                "with the files of one object"
            )
        found[part] = file
    absent = [part for part in PARTS if part not in found]
    if absent and set(found) != {"vq_model"}:
        raise VqadError(
            f"{folder}: no file for {', '.join(absent)}; give all six, or the vq_model file alone"
        )
    return found


def _anomalib(path: Path, state: Any) -> TorchCheckpoint:
    if not isinstance(state, Mapping):
        raise VqadError(f"{path}: has no state_dict; give a Lightning checkpoint of anomalib's Dsr")
    files: dict[str, dict] = {part: {} for part in PARTS}
    others = []
    for name, value in state.items():
        part = next((part for part in PARTS if str(name).startswith(_PREFIXES[part])), None)
        if part is None:
            others.append(str(name))
        else:
            files[part][name.removeprefix(_PREFIXES[part])] = value
    if left := [name for name in others if not _IGNORED.match(name)]:
        raise VqadError(
            f"{path}: left over: {', '.join(left)}; give an unchanged checkpoint of anomalib's Dsr"
        )
    arrays = {part: _arrays(path, tensors) for part, tensors in files.items()}
    return TorchCheckpoint("anomalib", arrays, _PREFIXES, [path.name], others)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise VqadError(
            "reading PyTorch checkpoints needs PyTorch: pip install vqad[torch]"
        ) from error
    if not path.is_file():
        raise VqadError(f"{path}: no such file or directory; give a PyTorch checkpoint of DSR")
    _check_stored(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        culprit = re.search(r"GLOBAL [\w.]+|Unsupported operand \d+", str(error))
        told = culprit[0] if culprit else reason(error)[:80]
        raise VqadError(
            f"{path}: refused, the file is damaged or holds more than plain tensors, which could "
            f"run code ({told}); if you trust it, load it in PyTorch and save again its plain "
            "tensors alone"
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


def _arrays(path: Path, tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Tensors as arrays, once each is plain: its numbers in memory, one by one."""
    import torch

    def plain(value: Any) -> bool:
        return (
            isinstance(value, torch.Tensor)
            and value.layout == torch.strided
            and value.device.type == "cpu"
            and not value.is_quantized
            and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
        )

    odd = [str(name) for name, a in tensors.items() if not isinstance(name, str) or not plain(a)]
    if odd:
        raise VqadError(
            f"{path}: {', '.join(odd)}: no plain tensor; give a state_dict of DSR alone"
        )
    return {
        name: (value.float() if value.is_floating_point() else value).detach().numpy()
        for name, value in tensors.items()
    }


def import_weights(src: str | Path, out: str | Path) -> dict[str, Any]:
    """Writes a vqad checkpoint with the weights of another DSR implementation.

    Args:
        src: The authors' checkpoint directory (a `.pckl`, `.pth` or `.pt` file for each part,
            recognised by what its name contains) or their stage-1 file alone, or a Lightning
            checkpoint of anomalib's `Dsr`, or its state dict alone. The authors' networks see BGR
            images; their weights are converted, so that the result takes RGB.
        out: The folder to write; must not exist or be empty.

    Returns:
        The checkpoint's metadata: `model`, the fields of `vqad.models.dsr.Dsr`, and `origin`, with
        `format` (`authors` or `anomalib`), `source` (file names), `channel_order` and `ignored`
        (tensors beside the networks that were not imported).

    Raises:
        VqadError: The source is not such a checkpoint, would run code, or does not fit tensor by
            tensor; PyTorch is missing; or `out` holds something already.
    """
    check_local(src)
    source = read_checkpoint(src)
    variables = authors_to_variables(source.files, source.names)
    bgr = source.format == "authors"
    metadata = {
        "model": infer_sizes(source.files),
        "origin": {
            "format": source.format,
            "source": source.sources,
            "channel_order": "BGR converted to RGB" if bgr else "RGB",
            "ignored": source.ignored,
        },
    }
    save_weights(os.fspath(out), bgr_to_rgb(variables) if bgr else variables, metadata)
    return metadata
