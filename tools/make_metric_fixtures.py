"""Records anomalib's AUPRO and AUPIMO of made-up maps in `tests/data/anomalib_metrics.json`.

    pip install torch torchmetrics opencv-python-headless omegaconf jsonargparse matplotlib
    pip install --no-deps anomalib && python tools/make_metric_fixtures.py

The metrics need none of what anomalib's models and data need, which is replaced by nothing while
they are imported. The versions that made the file are in it. Tests make the same maps again and
compare `pixel_sum` first, so that figures are never compared of different maps.
"""

import importlib.abc
import importlib.machinery
import json
import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[1] / "tests" / "data" / "anomalib_metrics.json"
HEIGHT, WIDTH = 200, 250  # 50,000 pixels: 40 good images meet a rate of 1e-5 exactly, at 20 pixels
GOOD, DEFECTIVE = 40, 8
CASES = {
    # name: spread of the logits, their middle, how far defects stand out, radius of a defect
    "soft": (1.0, -2.0, 6.0, 16),
    "confident": (4.0, -9.0, 32.0, 12),
    "small defects": (1.5, -4.0, 4.0, 3),
    "hardly found": (1.0, -1.0, 1.0, 20),
}


def _smooth(noise):
    """Mean of 3 x 3 pixels, with wrapping."""
    for axis in (-2, -1):
        noise = sum(np.roll(noise, shift, axis) for shift in (-1, 0, 1))
    return noise


def make_case(name):
    """Maps float32 [n, h, w] in (0, 1) and truth uint8 [n, h, w]; the good images come first."""
    spread, middle, contrast, radius = CASES[name]
    rng = np.random.default_rng(sorted(CASES).index(name))
    logits = _smooth(rng.random((GOOD + DEFECTIVE, HEIGHT, WIDTH)) - 0.5)
    logits = middle + spread * logits / logits.std()
    truth = np.zeros(logits.shape, np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for image, mask in zip(logits[GOOD:], truth[GOOD:], strict=True):
        for _ in range(1 + int(3 * rng.random())):
            top, left = rng.random(2) * (HEIGHT, WIDTH)
            square = (abs(y - top) <= radius) & (abs(x - left) <= radius)
            # A second square touches the first at a corner alone: with 8 neighbours, one region.
            corner = (abs(y - top - 2 * radius - 1) <= radius) & (
                abs(x - left - 2 * radius - 1) <= radius
            )
            mask[square | corner] = 1
            image[square | corner] += contrast * (0.5 + 0.5 * rng.random())
    return (1 / (1 + np.exp(-logits))).astype(np.float32), truth


class _Nothing(type):
    """A class whose attributes are classes of the same kind, whatever they are called."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing(name, (), {})

    def __or__(cls, other):
        return cls

    __ror__ = __or__

    def __getitem__(cls, item):
        return cls


class _Left(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of nothing in place of those that the metrics do without."""

    TOP = ("torchvision", "kornia", "timm", "lightning", "pandas", "openvino", "rich_argparse")
    PARTS = ("anomalib.data", "anomalib.models", "anomalib.visualization")

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.TOP or name.startswith(self.PARTS):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: getattr(_Nothing("module", (), {}), name)
        module.__path__ = []
        return module

    def exec_module(self, module):
        """Nothing to run."""


def _figures(maps, truth):
    import torch
    from anomalib.metrics.aupro import _AUPRO
    from anomalib.metrics.pimo.functional import aupimo_scores

    maps, truth = torch.from_numpy(maps), torch.from_numpy(truth).int()
    aupro = _AUPRO(fpr_limit=0.3)
    aupro.update(maps, truth)
    *_, classes, scores, points = aupimo_scores(maps, truth.bool(), num_thresholds=300_000)
    return {
        "aupro": float(aupro.compute()),
        "aupimo": float(scores[classes == 1].mean()),
        "points": points,
    }


def main():
    """Writes the file and prints it."""
    sys.meta_path.insert(0, _Left())
    content = {
        "versions": {name: version(name) for name in ("anomalib", "torch", "numpy")},
        "cases": {},
    }
    for name in CASES:
        maps, truth = make_case(name)
        pixel_sum = float(maps.sum(dtype=np.float64))
        content["cases"][name] = {"pixel_sum": pixel_sum, **_figures(maps, truth)}
    FILE.write_text(json.dumps(content, indent=2) + "\n")
    sys.stdout.write(FILE.read_text())


if __name__ == "__main__":
    main()
