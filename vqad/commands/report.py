"""Write what an evaluation found as one HTML page.

It has figures, curves, a threshold to move and all test images.
"""

import argparse
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vqad.commands.arguments import Parser, add, number
from vqad.errors import VqadError

if TYPE_CHECKING:
    from vqad.data.sources import Source
    from vqad.prediction.jitted import Predict
    from vqad.report.page import Card

logger = logging.getLogger(__name__)

_BATCH = 8


def arguments(parser: Parser) -> None:
    add(parser, "WORKDIR", "a run's workdir, which was evaluated")
    add(parser, "--out FILE", "the file to write (WORKDIR/report.html)")
    add(parser, "--surface DIR", "where the test images lie, if no longer where they were")
    text = "pixels of the pictures' longest side"
    add(parser, "--side N", text, 192, type=number(int, 16, 1024))


def run(args: argparse.Namespace) -> None:
    """Predicts the test images again and writes the page."""
    from etils import epath

    from vqad.config.base import fields
    from vqad.data.sources import open_source
    from vqad.prediction.detector import UNDECIDED
    from vqad.prediction.loading import load_folder
    from vqad.prediction.results import write_result
    from vqad.report.page import render
    from vqad.report.stored import check_cards, read_evaluation

    out = epath.Path(args.out or epath.Path(args.workdir) / "report.html")
    if out.is_dir():
        raise VqadError(f"--out={out}: is a folder; give a file, as report.html")
    detector = load_folder(args.workdir)
    evaluation = read_evaluation(args.workdir, detector.metadata["step"])
    about = evaluation["about"]
    settings = detector.metadata.get("config") or {"model": detector.metadata["model"]}
    size, surface = tuple(about["image_size"]), args.surface or about["surface"]
    scaled = about.get("value_range", ())
    fields()["value_range"]("value_range", scaled)
    how = {"data_dir": _data_dir(settings, surface), "value_range": tuple(scaled) or None}
    how["follow_links"] = bool(settings.get("follow_links"))
    source = open_source(surface, "test", size, cache_bytes=0, **how)  # each is read once
    if len(source) != evaluation["images"]:
        raise VqadError(
            f"{source.name}: {len(source)} test images, but {evaluation['images']} were evaluated; "
            "run vqad evaluate again, or give the same ones with --surface"
        )
    evaluated = detector.model.clone(score_window=about["score_window"])
    same_scores = evaluated == detector.model
    detector = dataclasses.replace(detector, model=evaluated, image_size=size)
    detector.value_range = how["value_range"]
    limits = detector.thresholds
    if limits is not None and not (same_scores and detector.has_thresholds(tile=False)):
        logger.warning(
            "warning: %s: thresholds of other scores than were evaluated are not used", args.workdir
        )
        limits = None
    limit = UNDECIDED if limits is None else limits.pixel
    cards = list(_cards(detector.predict_batch, source, limit, args.side))
    check_cards(cards, evaluation["overall"], source.name)
    content = render(evaluation, settings, source.classes, cards, limits)
    write_result(out, content)
    print(f"{len(cards)} images, {len(content) / 1e6:.1f} MB; written: {out}")


def _data_dir(settings: Mapping[str, Any], surface: str) -> str | None:
    """Where the run's prepared data lies: a place to read, in which nothing is to be drawn."""
    from etils import epath

    found = settings.get("data_dir")
    if not isinstance(found, str) or not found:
        return None
    drawn = (epath.Path(found) / "surface_demo").glob("*/*/dataset_info.json")
    return found if not surface.startswith("tfds:surface_demo") or any(drawn) else None


def _cards(predict: "Predict", source: "Source", limit: float, side: int) -> Iterator["Card"]:
    import numpy as np
    from tqdm import tqdm

    from vqad.data.pipeline import evaluation_batches
    from vqad.report.page import Card
    from vqad.report.pictures import drawing, thumbnail

    with tqdm(total=len(source), unit="image", disable=None) as bar:
        for batch in evaluation_batches(source, batch_size=_BATCH):
            found = predict(batch["image"])
            for row in np.flatnonzero(batch["valid"]):
                name, score = source.names(int(batch["index"][row])), float(found["score"][row])
                values = np.asarray(found["mask"][row], np.float32)
                if not (np.isfinite(score) and np.isfinite(values).all()):
                    raise VqadError(
                        f"{name}: the prediction is not finite; the weights are damaged"
                    )
                picture = thumbnail(batch["image"][row], side)
                drawn = drawing(values, limit, batch["mask"][row], side)
                yield Card(int(batch["class_id"][row]), name, score, picture, drawn)
                bar.update()
