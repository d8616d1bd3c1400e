"""A report of made-up images: python tests/support/made_up_report.py OUT.html [IMAGES]."""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from vqad.prediction.thresholds import Thresholds
from vqad.report.page import Card, render
from vqad.report.pictures import drawing, thumbnail

CLASSES = ("good", "scratch", "pit & dent", "</script><b>")
HOSTILE = "</script><script>alert(1)</script><!--\"'&.png"
SETTINGS = {"surface": "/data/<tiles>", "model": {"hiddens": 128}, "stages": ["stage1", "stage2"]}


def made_up_report(count, shape=(256, 256), side=192, calibrated=True):
    """The page and its cards: a third defective, the first image of a hostile name."""
    rng = np.random.default_rng(0)
    cards = []
    for i in range(count):
        class_id = int(rng.integers(1, len(CLASSES))) if i % 3 == 0 else 0
        image, values, truth = _surface(rng, shape, class_id)
        cards.append(
            Card(
                class_id=class_id,
                name=HOSTILE if i == 0 else f"test/{CLASSES[class_id]}/part_{i}.png",
                # Float32, as scores are; rounded, so that some are equal.
                score=float(np.float32(np.round(rng.beta(2, 5) / 2 + 0.35 * (class_id > 0), 3))),
                picture=thumbnail(image, side),
                overlay=drawing(values, 0.5, truth, side),
            )
        )
    limits = Thresholds(0.41, 0.5, 0.05, 60, 7, shape, False) if calibrated else None
    return render(evaluation(shape, count), SETTINGS, CLASSES, cards, limits), cards


def evaluation(shape, images):
    row = {
        "image_auroc": 0.93219,
        "image_ap": 0.88,
        "image_recall_at_5": 0.71,
        "pixel_aupimo": None,
        "images": images,
    }
    intervals = {"image_auroc": [0.9012, 0.9554], "image_recall_at_5": None}
    return {
        "about": {
            "checkpoint": "runs/<tiles>/stage3",
            "step": 7,
            "surface": "/data/<tiles>",
            "image_size": list(shape),
            "score_window": 21,
        },
        "overall": {**row, "intervals": intervals},
        "classes": {name: {**row, "images": 3} for name in CLASSES[1:]},
        "centre_224": {"overall": row, "classes": {}},
        "images": images,
        "seconds_per_image": 0.25,
    }


def _surface(rng, shape, class_id):
    """An image with grain, its map and its truth."""
    height, width = shape

    def smooth(cells):
        noise = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        return np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))

    grey = 130 + 18 * smooth(6) + 10 * smooth(40) + rng.normal(0, 7, shape)
    image = grey[..., None] + np.array([12, 0, -14])
    truth = np.zeros(shape, np.uint8)
    values = np.clip(0.06 * smooth(8), 0, 1)
    if class_id:
        top, left = (int(rng.integers(side // 8, side // 2)) for side in shape)
        tall, wide = (max(2, int(side * rng.uniform(0.02, 0.3))) for side in shape)
        truth[top : top + tall, left : left + wide] = 1
        image[truth > 0] -= 60
        values = np.where(truth > 0, rng.uniform(0.3, 1), values)
        soft = Image.fromarray(values.astype(np.float32)).resize((width // 8, height // 8))
        values = np.asarray(soft.resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(image, 0, 255).astype(np.uint8), np.float32(np.clip(values, 0, 1)), truth


if __name__ == "__main__":
    begun = time.perf_counter()
    page, made = made_up_report(int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
    Path(sys.argv[1]).write_bytes(page)
    print(f"{len(made)} images, {len(page) / 1e6:.1f} MB, {time.perf_counter() - begun:.1f} s")
