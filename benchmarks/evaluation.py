"""Time and memory of evaluating alone: made-up maps instead of prediction.

python benchmarks/evaluation.py --images 10000 --side 256
"""

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np

from vqad.evaluation.predictions import evaluate_predictions
from vqad.evaluation.report import format_table

BATCH, POOL = 8, 64


def make_pool(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps float32 and truth uint8 [POOL, side, side], each fourth with defects."""
    rng = np.random.default_rng(0)
    truth = np.zeros((POOL, side, side), np.uint8)
    for mask in truth[::4]:
        for _ in range(3):
            (top, left), size = rng.integers(0, side, 2), rng.integers(3, side // 5)
            mask[top : top + size, left : left + size] = 1
    logits = rng.normal(-6, 2, truth.shape) + truth * rng.normal(5, 2, (POOL, 1, 1))
    return (1 / (1 + np.exp(-logits))).astype(np.float32), truth


def main() -> None:
    """Evaluates, and prints the table and what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=256)
    args = parser.parse_args()
    maps, truth = make_pool(args.side)
    rng = np.random.default_rng(1)
    making = 0.0
    rolled = maps[:BATCH]

    def batches() -> Iterator[dict[str, np.ndarray]]:
        nonlocal making, rolled
        for start in range(0, args.images, BATCH):
            began = time.perf_counter()
            rows = (start + np.arange(BATCH)) % POOL
            by = int(rng.integers(args.side))
            rolled = np.roll(maps[rows], by, 1)
            class_id = np.where(truth[rows].any((1, 2)), 1 + rows // 4 % 2, 0)
            batch = {
                "image": np.zeros((BATCH, args.side, args.side, 3), np.uint8),
                "mask": np.roll(truth[rows], by, 1),
                "label": (class_id > 0).astype(np.int32),
                "class_id": class_id,
                "index": start + np.arange(BATCH),
                "valid": start + np.arange(BATCH) < args.images,
            }
            making += time.perf_counter() - began
            yield batch

    def predict(image: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal making
        began = time.perf_counter()
        score = np.quantile(rolled.reshape(BATCH, -1), 0.99, 1) + rng.normal(0, 0.1, BATCH)
        both = np.zeros(image.shape, np.float32)
        making += time.perf_counter() - began
        return {"score": score, "mask": rolled, "general": both, "specific": both}

    names = [str(i) for i in range(args.images + BATCH)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    evaluation = evaluate_predictions(predict, batches(), ("good", "crack", "stain"), names)
    seconds = time.perf_counter() - began - making
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(format_table(evaluation))
    print(f"{args.images} images of {args.side} x {args.side}, making them left out:")
    print(f"{1e3 * seconds / args.images:.2f} ms an image")
    print(f"peak memory {peak / 1024:.0f} MiB, {before / 1024:.0f} MiB before evaluating")


if __name__ == "__main__":
    main()
