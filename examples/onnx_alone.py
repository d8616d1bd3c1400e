"""Predicts with an ONNX export of vqad, evaluates it, with NumPy, Pillow and ONNX Runtime alone.

    pip install numpy pillow onnxruntime
    python onnx_alone.py model.onnx pictures/
    python onnx_alone.py model.onnx tiles/test/

prints the score of each picture, with thresholds in the model also its verdict, and for a test
folder in MVTec's layout (a subfolder ``good`` and others) the image AUROC. A picture that cannot be
read is named and skipped, and the exit code is 1.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".j2k"}


class Model:
    """An exported detector; attributes are what its file says of it."""

    def __init__(self, path: str) -> None:
        """Opens the file."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(path, options, providers=providers)
        self.about = json.loads(self.session.get_modelmeta().custom_metadata_map["vqad"])
        self.image_size = tuple(self.about["image_size"])
        self.thresholds = self.about["thresholds"]
        runtime = self.about.get("runtime") or "onnxruntime"
        if self.thresholds and runtime == "openvino-bf16":  # scores in bfloat16 are others
            print(f"{path}: no verdicts, its thresholds are for {runtime}", file=sys.stderr)
            self.thresholds = None
        self.value_range = self.about.get("value_range")

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Scores, masks, and with thresholds verdicts and marks, of uint8 [n, h, w, 3], RGB."""
        names = ["score", "mask"] + (["verdict", "marks"] if self.thresholds else [])
        return dict(zip(names, self.session.run(names, {"image": images}), strict=True))


def read(path: Path, model: Model) -> np.ndarray:
    """A picture as RGB at the model's size, scaled and resized as its description says."""
    with Image.open(path) as picture:
        if getattr(picture, "n_frames", 1) > 1:
            raise ValueError("several pages in one file")
        if picture.format == "TIFF" and picture.mode[0] in "IF":  # Pillow reads what few tags say
            raise ValueError("TIFF of more than 8 bits")
        picture = ImageOps.exif_transpose(picture)
        if picture.mode[0] in "IF":  # of more than 8 bits; Pillow would cut them off at 255
            picture = to_8_bit(picture, model.value_range)
        picture = picture.convert("RGB")
        return np.asarray(picture.resize(model.image_size[::-1], Image.Resampling.BILINEAR))


def to_8_bit(picture: Image.Image, value_range: list[float] | None) -> Image.Image:
    """Greys as vqad reads them: of 16 bits 65535 becomes 255, or what the model says is white."""
    values = np.asarray(picture)
    if value_range is None and values.dtype.itemsize != 2:
        raise ValueError(f"{values.dtype} values, of which nothing tells what is white")
    low, high = value_range or (0, 65535)
    values = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return Image.fromarray(np.round(values * 255).astype(np.uint8))


def find(folder: Path) -> list[Path]:
    """The pictures below a folder, without what is hidden."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


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
    if args.batch < 1:
        parser.error(f"--batch={args.batch}: must be at least 1")
    paths = find(args.folder)
    if not paths:
        parser.error(f"{args.folder}: no pictures there")
    try:
        model, scores = Model(args.model), {}
    except Exception as error:  # ONNX Runtime raises several things of files that are no models
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        parser.error(f"{args.model}: not an ONNX export of vqad ({reason})")
    for start in range(0, len(paths), args.batch):
        pictures = {}
        for path in paths[start : start + args.batch]:
            try:
                pictures[path] = read(path, model)
            except Exception as error:  # damaged files make Pillow raise anything
                print(f"{path}: skipped, cannot be read ({error})", file=sys.stderr)
        if not pictures:
            continue
        found = model.predict(np.stack(list(pictures.values())))
        for i, path in enumerate(pictures):
            scores[path], verdict = found["score"][i], ""
            if model.thresholds:
                verdict = "defective" if found["verdict"][i] else "good"
            print(f"{path.relative_to(args.folder)} {scores[path]:.6f} {verdict}".rstrip())
    # Pictures beside the folders of classes are of none.
    places = {path: path.relative_to(args.folder).parts for path in scores}
    of_class = {path: parts[0] for path, parts in places.items() if len(parts) > 1}
    defective = np.array([name != "good" for name in of_class.values()])
    if defective.any() and not defective.all():
        print(f"image AUROC {auroc(np.array([scores[p] for p in of_class]), defective):.4f}")
    return 0 if len(scores) == len(paths) else 1


if __name__ == "__main__":
    sys.exit(main())
