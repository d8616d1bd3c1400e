"""Write a model as one file for other programs.

It is compared with the model before it is written.
"""

import argparse
import logging
import os

from vqad.commands.arguments import Parser, add, add_model

logger = logging.getLogger(__name__)

FORMATS = ("stablehlo", "onnx", "safetensors")


def arguments(parser: Parser) -> None:
    add_model(parser)
    add(parser, "OUT", "the file to write; ends in .<format>")
    add(parser, "--format", "the file's format", required=True, choices=FORMATS)
    text = "pictures, folders or patterns to compare export and model on (drawn surfaces)"
    add(parser, "--images IMAGES", text, nargs="+")


def run(args: argparse.Namespace) -> None:
    """Writes the file and prints how it compares."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from vqad.interop.write import export
    from vqad.prediction.inputs import gather, readable

    images = readable(gather(args.images)) if args.images else None
    found, size = export(args.model, args.out, args.format, images)
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
