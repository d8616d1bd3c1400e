"""The subcommand `vqad predict`; what it needs is imported when it runs."""

import argparse
import csv
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqad.errors import VqadError

if TYPE_CHECKING:
    import numpy as np

    from vqad.prediction.detector import Detector
    from vqad.prediction.inputs import Input

logger = logging.getLogger(__name__)

FIELDS = ("file", "score", "verdict", "marked", "mask", "overlay", "error")


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the subcommand."""
    parser.add_argument(
        "model", metavar="MODEL", help="a run's workdir, a checkpoint folder, or an export"
    )
    parser.add_argument(
        "images", metavar="IMAGES", nargs="+", help="pictures, folders of such, or patterns"
    )
    parser.add_argument("--out", required=True, help="the folder to write; new or empty")
    parser.add_argument(
        "--tile",
        action="store_true",
        help="cut images that are larger than the model's into tiles, in place of resizing them; "
        "each is looked at alone",
    )
    parser.add_argument(
        "--overlap", type=int, help="pixels that neighbouring tiles share (a quarter of a tile)"
    )
    parser.add_argument("--batch", type=int, default=8, help="images at a time (8)")


def run_predict(args: argparse.Namespace) -> int:
    """Runs the subcommand.

    Returns:
      The exit code: 1 if a picture could not be read, else 0.

    Raises:
      VqadError: bad arguments, or no picture that can be read.
    """
    from tqdm import tqdm

    from vqad.paths import check_local
    from vqad.prediction.inputs import decoded, gather, groups
    from vqad.prediction.loading import load

    check_local(args.out)
    out = Path(args.out)
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise VqadError(f"--out={out}: cannot be read ({error.strerror}); give another") from error
    if taken:
        raise VqadError(f"--out={out}: exists and is not an empty folder; give a new one")
    if args.batch < 1:
        raise VqadError(f"--batch={args.batch}: must be at least 1")
    if args.overlap is not None and not args.tile:
        raise VqadError(f"--overlap={args.overlap}: is of tiles; add --tile")
    inputs = gather(args.images)
    detector = load(args.model)
    _tell_thresholds(detector, args)
    # Tiles of one image are many already.
    size = args.batch if args.tile else min(args.batch, len(inputs))
    together = 1 if args.tile else size
    skipped, seconds, timed = 0, 0.0, 0
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (
            open(out / "predictions.jsonl", "w", encoding="utf-8") as lines,
            # Names of files may hold what is no text.
            open(
                out / "predictions.csv",
                "w",
                newline="",
                encoding="utf-8",
                errors="backslashreplace",
            ) as table,
            tqdm(total=len(inputs), unit="image", disable=not sys.stderr.isatty()) as bar,
        ):
            rows = csv.DictWriter(table, FIELDS)
            rows.writeheader()
            begun = time.perf_counter()
            for batch in groups(decoded(inputs), together):
                for entry in _predict_batch(detector, batch, out, args, size):
                    if entry["error"]:
                        skipped += 1
                        logger.warning("skipped: %s", entry["error"])
                    lines.write(json.dumps(entry) + "\n")
                    rows.writerow({name: _cell(value) for name, value in entry.items()})
                bar.update(len(batch))
                if timed:
                    seconds += time.perf_counter() - begun
                timed, begun = timed + len(batch), time.perf_counter()
    except OSError as error:
        raise VqadError(
            f"{error.filename or out}: cannot be written ({error.strerror or error}); free disk "
            "space or permissions"
        ) from error
    done = len(inputs) - skipped
    if not done:
        raise VqadError(f"{' '.join(args.images)}: no picture could be read; see the lines above")
    # The first batch compiles.
    speed = f", {(timed - together) / seconds:.1f} images/s" if seconds else ""
    print(f"{done} images, {skipped} skipped{speed}; written: {out}")
    return 1 if skipped else 0


def _tell_thresholds(detector: "Detector", args: argparse.Namespace) -> None:
    if not detector.judges(args.tile, args.overlap):
        tile = " --tile" if args.tile else ""
        overlap = "" if args.overlap is None else f" --overlap={args.overlap}"
        logger.warning(
            "no thresholds for such predictions, so no verdicts, and masks show what the network "
            "holds more likely defective than not; vqad calibrate%s%s sets thresholds",
            tile,
            overlap,
        )


def _cell(value: Any) -> Any:
    """A cell of the table; a file's name that spreadsheets would compute is quoted."""
    return f"'{value}" if str(value)[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _predict_batch(
    detector: "Detector",
    batch: Sequence[tuple["Input", Any]],
    out: Path,
    args: argparse.Namespace,
    size: int,
) -> list[dict[str, Any]]:
    """Predicts and writes a batch; returns its entries."""
    good = [(one, image) for one, image in batch if not isinstance(image, VqadError)]
    results = iter(())
    if good:
        found = detector.predict(
            [image for _, image in good],
            tile=args.tile,
            overlap=args.overlap,
            batch_size=size,
        )
        verdicts = [None] * len(good) if found.verdicts is None else found.verdicts
        marks = [mask > 0.5 for mask in found.masks] if found.marks is None else found.marks
        results = zip(found.scores, verdicts, marks, found.masks, strict=True)
    entries = []
    for one, image in batch:
        if isinstance(image, VqadError):
            entries.append({**dict.fromkeys(FIELDS), "file": one.path, "error": str(image)})
            continue
        score, verdict, marked, values = next(results)
        entries.append(
            {
                "file": one.path,
                "score": float(score),
                "verdict": None if verdict is None else "defective" if verdict else "good",
                "marked": float(marked.mean()),
                **_write_pictures(out, one, image, marked, values),
                "error": None,
            }
        )
    return entries


def _write_pictures(
    out: Path, one: "Input", image: "np.ndarray", marked: "np.ndarray", values: "np.ndarray"
) -> dict[str, str]:
    """Writes mask and overlay; returns their paths relative to the folder."""
    from PIL import Image

    from vqad.prediction.overlay import overlay

    written = {}
    for kind, picture in (("mask", marked), ("overlay", overlay(image, values, marked))):
        path = out / f"{kind}s" / one.name.parent / f"{one.name.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
        written[kind] = str(path.relative_to(out))
    return written
