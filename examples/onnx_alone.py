"""Predicts with an ONNX export of vqad, and judges it, with NumPy, Pillow and ONNX Runtime alone.

    pip install numpy pillow onnxruntime
    python onnx_alone.py model.onnx pictures/
    python onnx_alone.py model.onnx tiles/test/

prints the score of each picture, with thresholds in the model also its verdict, and for a test
folder in MVTec's layout (a subfolder ``good`` and others) the image AUROC.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}


class Model:
    """An exported detector; attributes are what its file says of it."""

    def __init__(self, path: str) -> None:
        """Opens the file."""
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.about = json.loads(self.session.get_modelmeta().custom_metadata_map["vqad"])
        self.image_size = tuple(self.about["image_size"])
        self.thresholds = self.about["thresholds"]

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Scores, masks, and with thresholds verdicts and marks, of uint8 [n, h, w, 3], RGB."""
        names = ["score", "mask"] + (["verdict", "marks"] if self.thresholds else [])
        return dict(zip(names, self.session.run(names, {"image": images}), strict=True))


def read(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A picture of 8 bits as RGB at the model's size, resized as its description says."""
    with Image.open(path) as picture:
        picture = ImageOps.exif_transpose(picture).convert("RGB")
        return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def auroc(scores: np.ndarray, defective: np.ndarray) -> float:
    """Share of the pairs of a good and a defective image that are in order; ties count half."""
    good, bad = scores[~defective], scores[defective][:, None]
    return float(((bad > good) + 0.5 * (bad == good)).mean())


def main() -> int:
    """Runs the program; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="what vqad export --format=onnx wrote")
    parser.add_argument("folder", type=Path, help="pictures, or a test folder in MVTec's layout")
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    paths = sorted(p for p in args.folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        parser.error(f"{args.folder}: no pictures there")
    model, scores = Model(args.model), []
    for start in range(0, len(paths), args.batch):
        here = paths[start : start + args.batch]
        found = model.predict(np.stack([read(path, model.image_size) for path in here]))
        for i, path in enumerate(here):
            verdict = ""
            if model.thresholds:
                verdict = "defective" if found["verdict"][i] else "good"
            print(f"{path.relative_to(args.folder)} {found['score'][i]:.6f} {verdict}".rstrip())
        scores.extend(found["score"])
    classes = [path.relative_to(args.folder).parts[0] for path in paths]
    defective = np.array([name != "good" for name in classes])
    if "good" in classes and defective.any():
        print(f"image AUROC {auroc(np.array(scores), defective):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
