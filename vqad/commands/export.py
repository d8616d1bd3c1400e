"""Write a model as one file for other programs.

It is compared with the model before it is written.
"""

import argparse
import functools
import logging
import os
from typing import TYPE_CHECKING

from vqad.commands.arguments import Parser, add, add_model
from vqad.errors import VqadError

if TYPE_CHECKING:
    from vqad.data.findings import Finding
    from vqad.interop.export.check import Figures

logger = logging.getLogger(__name__)

FORMATS = ("stablehlo", "onnx", "safetensors")
RUNTIMES = ("onnxruntime", "openvino-f32", "openvino-bf16")


def arguments(parser: Parser) -> None:
    add_model(parser)
    add(parser, "OUT", "the file to write; ends in .<format>")
    add(parser, "--format", "the file's format", required=True, choices=FORMATS)
    text = "pictures, folders or patterns to compare export and model on (drawn surfaces)"
    add(parser, "--images IMAGES", text, nargs="+")
    text = "set an ONNX file's thresholds in the runtime that will judge, and compare there"
    add(parser, "--for", text, choices=RUNTIMES, dest="runtime")
    text = "pictures of good parts for the thresholds of --for (those that training held out)"
    add(parser, "--good GOOD", text, nargs="+")


def run(args: argparse.Namespace) -> None:
    """Writes the file and prints how it compares."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from vqad.data.findings import tell_left_out
    from vqad.interop.write import export
    from vqad.prediction.inputs import gather, readable

    if args.good and not args.runtime:
        raise VqadError("--good: sets thresholds in a runtime; add --for, or use vqad calibrate")
    left: list[Finding] = []
    images, good = (
        functools.partial(readable, gather(of, left=left)) if of else None
        for of in (args.images, args.good)
    )
    tell_left_out(left)
    found, size = export(args.model, args.out, args.format, images, args.runtime, good)
    if args.runtime == "openvino-bf16":
        _tell_other_precision(args, found, size)
        return
    equal = found.images_with_equal_codes
    print(f"{found.images} images, all codes equal in {equal}", end="")
    if equal:
        print(f", whose masks differ by {found.mask_difference:.2g} at most", end="")
    if found.ties:
        print(
            f"\n{found.ties} of {found.codes} codes are ties that fell the other way (at most "
            f"{found.tie_excess:.2g} further): masks differ by "
            f"{found.mask_difference_plain:.2g} at most there, and by "
            f"{found.mask_difference_same_codes:.2g} with the same codes",
            end="",
        )
    print(f"\nscores differ by {found.score_difference:.2g} at most", end="")
    if found.verdicts is None:
        print("; no thresholds, so no verdicts (vqad calibrate sets them)")
    else:
        print(f"; verdicts are equal, {found.verdicts} defective")
        if found.verdicts in (0, found.images):
            logger.warning(
                "all verdicts are one, which says little of the threshold; give --images of good "
                "parts and of defects"
            )
    print(f"written: {args.out} ({size / 1e6:.1f} MB)")


def _tell_other_precision(args: argparse.Namespace, found: "Figures", size: int) -> None:
    print(
        f"{found.images} images: scores differ by {found.score_difference:.2g} at most, masks by "
        f"{found.mask_difference_plain:.2g}, as codes differ at this precision; "
        f"{found.verdicts} defective"
    )
    if found.changed is not None:
        print(f"{found.changed} verdicts are others than the model's at its own thresholds")
    print(f"written: {args.out} ({size / 1e6:.1f} MB), for {args.runtime}")
