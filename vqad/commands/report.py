"""The subcommand `vqad report`; what it needs is imported when it runs."""

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vqad.errors import VqadError

if TYPE_CHECKING:
    from vqad.data.sources import Source
    from vqad.evaluation.judge import Predict
    from vqad.prediction.thresholds import Thresholds
    from vqad.report.page import Card

logger = logging.getLogger(__name__)


def report_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the subcommand."""
    parser.add_argument("workdir", metavar="WORKDIR", help="a run's workdir, which was judged")
    parser.add_argument("--out", help="the file to write (WORKDIR/report.html)")
    parser.add_argument(
        "--surface", help="where the judged test images lie, if no longer where they were"
    )
    parser.add_argument(
        "--side", type=int, default=192, help="pixels of the pictures' longest side (192)"
    )


def run_report(args: argparse.Namespace) -> int:
    """Runs the subcommand.

    Returns:
      The exit code, 0.

    Raises:
      VqadError: bad arguments, nothing judged there, or other test images than were judged.
    """
    from etils import epath

    from vqad import checkpoints
    from vqad.checkpoints.digest import digest
    from vqad.data.sources import open_source
    from vqad.paths import write_whole
    from vqad.prediction.jitted import make_predict, whole_variables
    from vqad.prediction.loading import described
    from vqad.report.page import render
    from vqad.report.stored import check_cards, read_evaluation

    out = epath.Path(args.out or epath.Path(args.workdir) / "report.html")
    if out.is_dir():
        raise VqadError(f"--out={out}: is a folder; give a file, as report.html")
    if not 16 <= args.side <= 1024:
        raise VqadError(f"--side={args.side}: must be between 16 and 1024")
    folder = checkpoints.find_folder(args.workdir)
    variables, metadata = checkpoints.load_weights(folder)
    evaluation = read_evaluation(args.workdir, metadata["step"])
    about = evaluation["about"]
    settings = metadata.get("config", {"model": metadata.get("model")})
    model = described(metadata, folder)[0].clone(score_window=about["score_window"])
    weights = digest(variables)
    variables = whole_variables(model, variables, folder)
    surface = args.surface or about["surface"]
    source = open_source(
        surface,
        "test",
        tuple(about["image_size"]),
        data_dir=_data_dir(settings, surface),
        cache_bytes=0,  # each image is read once
    )
    if len(source) != evaluation["images"]:
        raise VqadError(
            f"{source.name}: {len(source)} test images, but {evaluation['images']} were judged; "
            "judge again with --mode=evaluate, or give the same ones with --surface"
        )
    same_scores = model.score_window == metadata["model"].get("score_window")
    limits = _limits(folder, about, same_scores, weights)
    predict, limit = make_predict(model, variables), limits.pixel if limits else 0.5
    cards = list(_cards(predict, source, _batch_size(settings), limit, args.side))
    check_cards(cards, evaluation["overall"], source.name)
    content = render(evaluation, settings, source.classes, cards, limits)
    try:
        write_whole(out, content)
    except OSError as error:
        raise VqadError(
            f"{out}: cannot be written ({error.strerror or error}); free disk space or "
            "permissions, or give another --out"
        ) from error
    print(f"{len(cards)} images, {len(content) / 1e6:.1f} MB; written: {out}")
    return 0


def _data_dir(settings: Mapping[str, Any], surface: str) -> str | None:
    """Where the run's prepared data lies: a place to read, in which nothing is to be drawn."""
    found = settings.get("data_dir")
    drawn = surface.startswith("tfds:surface_demo")
    if not isinstance(found, str) or not found or (drawn and not _holds_drawn(found)):
        return None
    return found


def _holds_drawn(data_dir: str) -> bool:
    from etils import epath

    return any((epath.Path(data_dir) / "surface_demo").glob("*/*/dataset_info.json"))


def _batch_size(settings: Mapping[str, Any]) -> int:
    """That of the run's judgement, as far as a checkpoint can be believed."""
    found = settings.get("evaluation")
    size = found.get("batch_size") if isinstance(found, dict) else None
    return size if type(size) is int and 0 < size <= 1024 else 8


def _limits(
    folder: str, about: Mapping[str, Any], same_scores: bool, weights: int
) -> "Thresholds | None":
    """The calibrated thresholds, if they are of scores like those that were judged."""
    from vqad.prediction import thresholds

    limits = thresholds.read(folder)
    if limits is None:
        return None
    kind = (limits.step, list(limits.image_size), limits.tiled)
    same_scores = same_scores and limits.weights in (None, weights)
    if same_scores and kind == (about["step"], about["image_size"], False):
        return limits
    logger.warning("warning: %s: thresholds of other scores than were judged are not used", folder)
    return None


def _cards(
    predict: "Predict", source: "Source", batch_size: int, limit: float, side: int
) -> Iterator["Card"]:
    import numpy as np
    from tqdm import tqdm

    from vqad.data.pipeline import evaluation_batches
    from vqad.report.page import Card
    from vqad.report.pictures import drawing, thumbnail

    with tqdm(total=len(source), unit="image", disable=not sys.stderr.isatty()) as bar:
        for batch in evaluation_batches(source, batch_size=batch_size):
            found = predict(batch["image"])
            for row in np.flatnonzero(batch["valid"]):
                name, score = source.names(int(batch["index"][row])), float(found["score"][row])
                values = np.asarray(found["mask"][row], np.float32)
                if not (np.isfinite(score) and np.isfinite(values).all()):
                    raise VqadError(
                        f"{name}: the prediction is not finite; the weights are damaged"
                    )
                yield Card(
                    class_id=int(batch["class_id"][row]),
                    name=name,
                    score=score,
                    picture=thumbnail(batch["image"][row], side),
                    overlay=drawing(values, limit, batch["mask"][row], side),
                )
                bar.update()
