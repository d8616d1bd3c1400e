"""Set a model's thresholds by pictures of good parts.

The model was not trained on them. Verdicts need thresholds; these promise how often a good part is
called defective.
"""

import argparse
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqad.commands.arguments import (
    Parser,
    add,
    add_follow_links,
    add_model,
    add_tiling,
    add_value_range,
    tiling,
)
from vqad.errors import VqadError, less_memory

if TYPE_CHECKING:
    from vqad.data.findings import Finding
    from vqad.prediction.inputs import Input


def arguments(parser: Parser) -> None:
    add_model(parser)
    text = "pictures of good parts that were not trained on: files, folders or patterns"
    add(parser, "GOOD...", text, dest="images")
    text = "wanted share of good parts that are called defective"
    add(parser, "--false-alarms SHARE", text, 0.01, type=float)
    add_follow_links(parser)
    add_tiling(parser)
    add_value_range(parser)


@less_memory("lower --batch, the images or tiles at a time")
def run(args: argparse.Namespace) -> None:
    """Sets and writes thresholds."""
    from tqdm import tqdm

    from vqad.data.findings import tell_left_out
    from vqad.interop.load import load
    from vqad.prediction import thresholds
    from vqad.prediction.inputs import gather, readable

    thresholds.check_rate("--false-alarms", args.false_alarms)
    how = tiling(args)
    left: list[Finding] = []
    inputs = gather(args.images, args.follow_links, left)
    thresholds.conformal_rank(len(inputs), args.false_alarms)  # too few are told before the work
    detector = load(args.model, value_range=args.value_range)
    if "folder" not in detector.metadata:
        raise VqadError(
            f"{args.model}: an export keeps the thresholds that it was written with; calibrate the "
            "folder that it came from, and export it again"
        )
    _check_good(inputs, detector.metadata)
    pictures = readable(inputs, detector.value_range)
    pictures = tqdm(pictures, total=len(inputs), unit="image", disable=None)
    limits = detector.calibrate(pictures, args.false_alarms, **how)
    path = thresholds.write(detector.metadata["folder"], limits)
    print(
        f"score {limits.score:.6g}, pixel {limits.pixel:.6g}: of good images like these "
        f"{limits.images}, at most a share of {limits.rate:.3g} is called defective, on average "
        f"over calibrations; written: {path}"
    )
    tell_left_out(left)


def _check_good(inputs: Sequence["Input"], metadata: Mapping[str, Any]) -> None:
    """Raises a VqadError for what voids the promise: a defect, by place or mask; trained on."""
    from vqad.data.decode import decode_mask
    from vqad.data.formats import split_page

    trained, defects = _known(metadata.get("surface_folder"))
    for one in inputs:
        path = Path(split_page(one.path)[0]).resolve()
        for kind in path.parents:
            good = kind.parent / "good"
            if kind.parent.name in ("train", "test") and kind != good and good.is_dir():
                raise VqadError(f"{one.path}: lies among defects; give {good}")
        mask = path.with_name(f"{path.stem}_GT.png")  # of KSDD2's layout
        if path in defects or (mask.is_file() and decode_mask(mask).any()):
            raise VqadError(f"{one.path}: its mask marks a defect; give good parts only")
        if path in trained:
            raise VqadError(
                f"{one.path}: lies among the training images; give good parts that the model has "
                "not seen"
            )


def _known(surface: Any) -> tuple[set[Path], set[Path]]:
    """Training images and defects of the folder that was trained on, if it is still there."""
    from vqad.data.folders import FolderSource
    from vqad.data.layouts import GOOD
    from vqad.paths import is_remote

    trained, defects = set(), set()
    if isinstance(surface, str) and not is_remote(surface) and Path(surface).is_dir():
        for split in ("train", "test"):
            with contextlib.suppress(VqadError):  # no such split, or no longer
                source = FolderSource(surface, split, labelled=True, follow_links=True)
                for index, record in enumerate(source.entries):
                    known = defects if record.label != GOOD else trained
                    if known is defects or split == "train":
                        known.add(Path(source.path(index)).resolve())
    return trained, defects
