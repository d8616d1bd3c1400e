"""Look for defects in pictures: scores, verdicts, overlays.

Verdicts need thresholds (vqad calibrate). Exits with 1 if a picture could not be read or was not
looked at; it is named.
"""

import argparse
import contextlib
import csv
import json
import logging
import time
from collections.abc import Iterator, Sequence
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
from vqad.errors import VqadError, explained, less_memory

if TYPE_CHECKING:
    from vqad.data.findings import Finding
    from vqad.prediction.detector import Detector

logger = logging.getLogger(__name__)

FIELDS = ("file", "score", "verdict", "marked", "mask", "overlay", "error")


def arguments(parser: Parser) -> None:
    add_model(parser)
    add(parser, "IMAGES...", "pictures, folders of such, or patterns")
    add(parser, "--out FOLDER", "the folder to write; new or empty", required=True)
    add_follow_links(parser)
    add_tiling(parser)
    add_value_range(parser)


@less_memory("lower --batch, the images or tiles at a time")
def run(args: argparse.Namespace) -> int:
    """Predicts and writes; returns 1 if a picture could not be read, else 0."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from vqad.data.findings import tell_left_out
    from vqad.interop.load import load
    from vqad.paths import check_local
    from vqad.prediction.inputs import decoded, gather, groups

    check_local(args.out)
    out = Path(args.out)
    with explained(f"--out={out}", "cannot be read", "give another", OSError):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise VqadError(f"--out={out}: exists and is not an empty folder; give a new one")
    how = tiling(args)
    left: list[Finding] = []
    inputs = gather(args.images, args.follow_links, left)
    detector = load(args.model, value_range=args.value_range)
    if not detector.has_thresholds(args.tile, args.overlap):
        kind = " --tile" * args.tile
        kind += "" if args.overlap is None else f" --overlap={args.overlap}"
        if args.value_range:
            kind += " --value-range={:g},{:g}".format(*args.value_range)
        logger.warning(
            "no thresholds for such predictions, so no verdicts, and masks show what the network "
            "holds more likely defective than not; vqad calibrate%s sets thresholds",
            kind,
        )
    # Tiles of one image are many already.
    if not args.tile:
        how["batch_size"] = min(args.batch, len(inputs))
    together = 1 if args.tile else how["batch_size"]
    done, seconds, timed = 0, 0.0, 0
    # Names of files may hold what is no text.
    csv_options = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}
    with contextlib.ExitStack() as stack:
        remedy = "free disk space or permissions"
        stack.enter_context(explained(out, "cannot be written", remedy, OSError))
        out.mkdir(parents=True, exist_ok=True)
        lines = stack.enter_context(open(out / "predictions.jsonl", "w", encoding="utf-8"))
        table = stack.enter_context(open(out / "predictions.csv", "w", **csv_options))
        bar = stack.enter_context(tqdm(total=len(inputs), unit="image", disable=None))
        stack.enter_context(logging_redirect_tqdm([logging.getLogger("vqad")]))
        rows = csv.DictWriter(table, FIELDS)
        rows.writeheader()
        begun = time.perf_counter()
        for batch in groups(decoded(inputs, detector.value_range), together):
            for entry in _entries(detector, batch, out, how):
                if entry["error"]:
                    logger.warning("skipped: %s", entry["error"])
                done += not entry["error"]
                lines.write(json.dumps(entry) + "\n")
                rows.writerow({name: _cell(value) for name, value in entry.items()})
            bar.update(len(batch))
            if timed:  # the first batch compiles
                seconds += time.perf_counter() - begun
            timed, begun = timed + len(batch), time.perf_counter()
    if not done:
        raise VqadError(f"{' '.join(args.images)}: no picture could be read; see the lines above")
    speed = f", {(timed - together) / seconds:.1f} images/s" if seconds else ""
    skipped = len(inputs) - done
    told = f" ({detector.remarks})" if str(detector.remarks) else ""
    print(f"{done} images, {skipped} skipped{told}{speed}; written: {out}")
    return 1 if tell_left_out(left) or skipped else 0


def _cell(value: Any) -> Any:
    """A cell of the table; a file's name that spreadsheets would compute is quoted."""
    return f"'{value}" if str(value)[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _entries(
    detector: "Detector", batch: Sequence[tuple], out: Path, how: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Predicts and writes the pictures that `decoded` gave; yields what is told of each."""
    from PIL import Image

    from vqad.prediction.pictures import overlay

    good = [image for _, image in batch if not isinstance(image, VqadError)]
    found = detector.predict(good, **how) if good else None
    number = 0
    for one, image in batch:
        entry = {**dict.fromkeys(FIELDS), "file": one.path}
        if isinstance(image, VqadError):
            yield {**entry, "error": str(image)}
            continue
        values, marked = found.masks[number], found.shown[number]
        drawn = overlay(image.image, values, marked)
        for kind, picture in (("mask", marked), ("overlay", drawn)):
            path = Path(f"{kind}s") / one.name.parent / f"{one.name.name}.png"
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(out / path)
            entry[kind] = str(path)
        if found.verdicts is not None:
            entry["verdict"] = "defective" if found.verdicts[number] else "good"
        yield {**entry, "score": float(found.scores[number]), "marked": float(marked.mean())}
        number += 1
