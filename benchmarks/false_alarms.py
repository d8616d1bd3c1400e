"""Wanted against measured false alarms, of thresholds that held-out good images set.

python benchmarks/false_alarms.py runs/tiles --calibrate /data/held --judge /data/tiles/test/good

Both folders hold good images that the model was not trained on. The last two columns are means
over random splits of all of them together, into as many to calibrate with and to judge.
"""

import argparse

import numpy as np

import vqad
from vqad.prediction.detector import Detector
from vqad.prediction.inputs import decoded, gather
from vqad.prediction.thresholds import conformal_quantile

SPLITS = 2000


def judge(detector: Detector, folder: str) -> np.ndarray:
    """Score and largest value of the map of each image, float [n, 2]."""
    each = (detector.predict(picture) for _, picture in decoded(gather([folder])))
    return np.array([(found.scores, found.masks.max()) for found in each])


def alarms(held: np.ndarray, judged: np.ndarray, rate: float) -> np.ndarray:
    """How many images have a higher score, and how many any higher pixel; int [2]."""
    limits = [conformal_quantile(values, rate) for values in held.T]
    return (judged > limits).sum(0)


def main() -> None:
    """Prints a table with a row for each rate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--calibrate", required=True, metavar="GOOD")
    parser.add_argument("--judge", required=True, metavar="GOOD")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.05, 0.1])
    args = parser.parse_args()
    detector = vqad.load(args.model)
    held, judged = judge(detector, args.calibrate), judge(detector, args.judge)
    both = np.concatenate([held, judged])
    rng = np.random.default_rng(0)
    splits = [np.split(rng.permutation(both), [len(held)]) for _ in range(SPLITS)]
    print(f"{len(held)} images calibrate, {len(judged)} are judged\n")
    print(
        "| wanted | images | with a marked pixel | images, random splits | marked, random splits |"
    )
    print("|---|---|---|---|---|")
    for rate in args.rates:
        once = alarms(held, judged, rate)
        often = np.mean([alarms(*split, rate) for split in splits], axis=0)
        cells = [f"{n} ({n / len(judged):.1%})" for n in once]
        cells += [f"{n / len(judged):.1%}" for n in often]
        print(f"| {rate:.0%} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
