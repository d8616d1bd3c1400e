"""A PyTorch checkpoint of DSR turned into a vqad checkpoint."""

from pathlib import Path
from typing import Any

from etils import epath

from vqad.checkpoints import save_weights
from vqad.errors import VqadError
from vqad.interop.authors import authors_to_variables, bgr_to_rgb, infer_sizes
from vqad.interop.torch_checkpoints import read_checkpoint
from vqad.paths import check_local, check_reachable


def import_weights(src: str | Path, out: str | Path) -> dict[str, Any]:
    """Writes a vqad checkpoint with the weights of another DSR implementation.

    Args:
        src: The authors' checkpoint directory (six `.pckl` files) or their stage-1 file alone, or a
            Lightning checkpoint of anomalib's `Dsr`, or its state dict alone. The authors' networks
            see BGR images; their weights are converted, so that the result takes RGB.
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
    check_reachable(out)
    out = epath.Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VqadError(f"{out}: already there and not an empty folder; give a new one")
    source = read_checkpoint(src)
    variables = authors_to_variables(source.files, source.names)
    order = "RGB"
    if source.format == "authors":
        variables = bgr_to_rgb(variables)
        order = "BGR converted to RGB"
    metadata = {
        "model": infer_sizes(variables),
        "origin": {
            "format": source.format,
            "source": source.sources,
            "channel_order": order,
            "ignored": source.ignored,
        },
    }
    save_weights(out, variables, metadata)
    return metadata
