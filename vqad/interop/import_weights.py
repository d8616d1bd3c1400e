"""A PyTorch checkpoint of DSR turned into a vqad checkpoint."""

import os
from pathlib import Path
from typing import Any

from vqad.checkpoints import save_weights
from vqad.interop.authors import authors_to_variables, bgr_to_rgb, infer_sizes
from vqad.interop.torch_checkpoints import read_checkpoint
from vqad.paths import check_local


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
    source = read_checkpoint(src)
    variables = authors_to_variables(source.files, source.names)
    bgr = source.format == "authors"
    if bgr:
        variables = bgr_to_rgb(variables)
    metadata = {
        "model": infer_sizes(variables),
        "origin": {
            "format": source.format,
            "source": source.sources,
            "channel_order": "BGR converted to RGB" if bgr else "RGB",
            "ignored": source.ignored,
        },
    }
    save_weights(os.fspath(out), variables, metadata)
    return metadata
