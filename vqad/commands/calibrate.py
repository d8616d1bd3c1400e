"""The subcommand `vqad calibrate`; what it needs is imported when it runs."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqad.errors import VqadError

if TYPE_CHECKING:
    import numpy as np

    from vqad.prediction.inputs import Input


def calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the subcommand."""
    parser.add_argument("model", metavar="MODEL", help="a run's workdir, or a checkpoint folder")
    parser.add_argument(
        "images",
        metavar="GOOD",
        nargs="+",
        help="pictures of good parts that were not trained on: files, folders or patterns",
    )
    parser.add_argument(
        "--false_alarms",
        type=float,
        default=0.01,
        help="wanted share of good parts that are called defective (0.01)",
    )
    parser.add_argument("--batch", type=int, default=8, help="images or tiles at a time (8)")
    parser.add_argument("--tile", action="store_true", help="for predictions with --tile")
    parser.add_argument("--overlap", type=int, help="for predictions with this --overlap")


def run_calibrate(args: argparse.Namespace) -> int:
    """Runs the subcommand.

    Returns:
      The exit code, 0.

    Raises:
      VqadError: bad arguments, too few pictures, one that cannot be read, lies among defects or was
        trained on.
    """
    from tqdm import tqdm

    from vqad.prediction import thresholds
    from vqad.prediction.inputs import decoded, gather
    from vqad.prediction.loading import load

    thresholds.check_rate("--false_alarms", args.false_alarms)
    if args.overlap is not None and not args.tile:
        raise VqadError(f"--overlap={args.overlap}: is of tiles; add --tile")
    if args.batch < 1:
        raise VqadError(f"--batch={args.batch}: must be at least 1")
    inputs = gather(args.images)
    thresholds.conformal_rank(len(inputs), args.false_alarms)  # too few are told before the work
    detector = load(args.model)
    if "folder" not in detector.metadata:
        raise VqadError(
            f"{args.model}: an export keeps the thresholds that it was written with; calibrate the "
            "folder that it came from, and export it again"
        )

    _check_good(inputs, detector.metadata)

    def pictures() -> Iterator["np.ndarray"]:
        hidden = not sys.stderr.isatty()
        for _, picture in tqdm(decoded(inputs), total=len(inputs), unit="image", disable=hidden):
            if isinstance(picture, VqadError):
                raise picture
            yield picture

    limits = detector.calibrate(
        pictures(),
        args.false_alarms,
        tile=args.tile,
        overlap=args.overlap,
        batch_size=args.batch,
    )
    path = thresholds.write(detector.metadata["folder"], limits)
    print(
        f"score {limits.score:.6g}, pixel {limits.pixel:.6g}: of good images like these "
        f"{limits.images}, at most a share of {limits.rate:.3g} is called defective, on average "
        f"over calibrations; written: {path}"
    )
    return 0


def _check_good(inputs: Sequence["Input"], metadata: Mapping[str, Any]) -> None:
    """Refuses what would make the promise worthless, as far as names and masks tell.

    Raises:
      VqadError: a picture lies among a data set's defects, has a mask that marks one, or was
        trained on.
    """
    trained, defects = _known(metadata.get("surface_folder"))
    for one in inputs:
        path = Path(one.path).resolve()
        kind, split = path.parent, path.parent.parent
        if split.name in ("train", "test") and kind.name != "good" and (split / "good").is_dir():
            raise VqadError(f"{one.path}: lies among defects; give {split / 'good'}")
        if path in defects or _is_marked(path):
            raise VqadError(f"{one.path}: its mask marks a defect; give good parts only")
        if path in trained:
            raise VqadError(
                f"{one.path}: lies among the training images; give good parts that the model has "
                "not seen"
            )


def _known(surface: Any) -> tuple[set[Path], set[Path]]:
    """Training images and defects of the folder that was trained on, if it is still there."""
    from vqad.data.layouts import read_folder
    from vqad.paths import is_remote

    trained, defects = set(), set()
    if not isinstance(surface, str) or is_remote(surface) or not Path(surface).is_dir():
        return trained, defects
    for split in ("train", "test"):
        try:
            records = read_folder(surface, split, labelled=True).records
        except VqadError:  # no such split, or no longer
            continue
        for record in records:
            path = Path(record.path).resolve()
            if record.label:
                defects.add(path)
            elif split == "train":
                trained.add(path)
    return trained, defects


def _is_marked(path: Path) -> bool:
    """Whether a mask lies beside it, as in KSDD2's layout, that is not black."""
    from vqad.data.decode import decode_mask

    mask = path.with_name(f"{path.stem}_GT.png")
    return mask.is_file() and bool(decode_mask(mask).any())
