"""Evaluates the baseline ``benchmarks/patchcore_lite.py`` on the test split that vqad sees.

python benchmarks/evaluate_patchcore.py --config=configs/small.py --config.surface=/data/tiles \
    --workdir=runs/patchcore

Images, masks at ``config.image_size`` and figures come from vqad's own code, so that they compare.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict
from patchcore_lite import SIDE, efficientnet_features, fit, make_predict

from vqad.commands.flags import load_config
from vqad.config import where_data_is
from vqad.data.pipeline import evaluation_batches
from vqad.data.sources import Source, open_source
from vqad.errors import VqadError, printable
from vqad.evaluation.predictions import Evaluation, evaluate_predictions
from vqad.evaluation.report import format_table, write_json


def evaluate_patchcore(config: ConfigDict, side: int) -> Evaluation:
    """Fits the baseline to ``config.surface`` and evaluates it.

    Args:
      config: a run's configuration.
      side: of the images that the baseline sees; small ones are then enlarged for its network.

    Raises:
      VqadError: the surface cannot be used.
    """

    def source(split: str, *size: int) -> Source:
        return open_source(config.surface, split, size, **where_data_is(config), cache_bytes=0)

    features = efficientnet_features()
    bank, scale = fit(features, source("train", side, side), config.seed)
    seen, masks = source("test", side, side), source("test", *config.image_size)
    images, evaluated = (
        evaluation_batches(each, batch_size=config.evaluation.batch_size) for each in (seen, masks)
    )
    return evaluate_predictions(
        make_predict(features, bank, scale, tuple(config.image_size)),
        (m | {"image": image["image"]} for image, m in zip(images, evaluated, strict=True)),
        masks.classes,
        [masks.names(i) for i in range(len(masks))],
    )


def main(argv: Sequence[str]) -> None:
    """Evaluates, prints the table and writes ``evaluation.json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=SIDE, help="side of the images that it sees")
    parser.add_argument("--workdir", type=Path, required=True)
    args, rest = parser.parse_known_args(argv)
    config = load_config(rest)
    evaluation = evaluate_patchcore(config, args.size)
    print(format_table(evaluation))
    about = {"surface": config.surface, "image_size": list(config.image_size), "seen": args.size}
    write_json(evaluation, args.workdir / "evaluation.json", about)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except VqadError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
