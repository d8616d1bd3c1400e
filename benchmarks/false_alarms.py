"""Wanted against measured false alarms, of thresholds that held-out good images set.

python benchmarks/false_alarms.py runs/tiles --judge /data/tiles/test/good
python benchmarks/false_alarms.py runs/demo --calibrate /data/held --judge /data/tiles/test/good

Good images that the model was not trained on: a folder of them sets the thresholds, or, without
``--calibrate``, the images that the run held out. The last two columns are means over random splits
of all of them together, into as many to calibrate with and to evaluate.
"""

import argparse
from collections.abc import Iterable

import numpy as np
from ml_collections import ConfigDict

import vqad
from vqad.config import where_data_is
from vqad.data.decode import resize_image
from vqad.data.sources import open_source
from vqad.errors import VqadError
from vqad.prediction.detector import Detector
from vqad.prediction.inputs import gather, readable
from vqad.prediction.thresholds import conformal_quantile

SPLITS = 2000


def held_out(detector: Detector) -> list[np.ndarray]:
    """The images that the run held out, uint8 [h, w, 3].

    Raises:
      VqadError: it held none out.
    """
    config = ConfigDict(detector.metadata.get("config", {}))
    share = config.get("calibration", {}).get("held_out", 0)
    if not share:
        raise VqadError("the run held no images out; give a folder of good ones as --calibrate")
    labelled, size = config.labelled_share > 0, detector.image_size
    source = open_source(config.surface, "train", size, labelled=labelled, **where_data_is(config))
    _, held = source.hold_out(share)
    return [held[i]["image"] for i in range(len(held))]


def folder(path: str) -> list[np.ndarray]:
    """The pictures of a folder."""
    return [found.image for found in readable(gather([path]), None)]


def evaluate(detector: Detector, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Of each image its score and its map's largest value, before and after it is resized.

    Returns:
      float [n, 3].
    """
    found = []
    for picture in pictures:
        whole = detector.predict(picture)
        small = detector.predict(resize_image(picture, detector.image_size))
        found.append((whole.scores, small.masks.max(), whole.masks.max()))
    return np.array(found)


def alarms(held: np.ndarray, evaluated: np.ndarray, rate: float) -> np.ndarray:
    """How many images have a higher score, and how many any higher pixel; int [2].

    Thresholds are those of ``Detector.calibrate``, which looks at maps before they are resized.
    """
    limits = [conformal_quantile(values, rate) for values in held[:, :2].T]
    return (evaluated[:, [0, 2]] > limits).sum(0)


def main() -> None:
    """Prints a table with a row for each rate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--calibrate", metavar="GOOD", help="a folder (what the run held out)")
    parser.add_argument("--judge", required=True, metavar="GOOD")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.05, 0.1])
    args = parser.parse_args()
    detector = vqad.load(args.model)
    good = folder(args.calibrate) if args.calibrate else held_out(detector)
    held, evaluated = evaluate(detector, good), evaluate(detector, folder(args.judge))
    both = np.concatenate([held, evaluated])
    rng = np.random.default_rng(0)
    splits = [np.split(rng.permutation(both), [len(held)]) for _ in range(SPLITS)]
    print(f"{len(held)} images calibrate, {len(evaluated)} are evaluated\n")
    print(
        "| wanted | images | with a marked pixel | images, random splits | marked, random splits |"
    )
    print("|---|---|---|---|---|")
    for rate in args.rates:
        once = alarms(held, evaluated, rate)
        often = np.mean([alarms(*split, rate) for split in splits], axis=0)
        cells = [f"{n} ({n / len(evaluated):.1%})" for n in once]
        cells += [f"{n / len(evaluated):.1%}" for n in often]
        print(f"| {rate:.0%} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
