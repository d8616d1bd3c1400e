"""The drawn surface as folders of pictures, as a surface of one's own lies there."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from vqad.data.layouts import GOOD
from vqad.data.surface_demo.draw import CLASSES, draw_picture, draw_tile


def write_tiles(folder: str | os.PathLike[str], train: int, good: int, defective: int) -> None:
    """Draws metal tiles of 128 x 128 pixels, with masks, in MVTec's layout.

    Args:
      folder: where to; made if it is not there.
      train: good tiles to train with.
      good: good tiles to test with.
      defective: tiles of each kind of defect to test with.
    """
    number, root = 0, Path(folder)
    kinds = [("test", kind, defective) for kind in CLASSES if kind != GOOD]
    for split, kind, count in [("train", GOOD, train), ("test", GOOD, good), *kinds]:
        for _ in range(count):
            tile, name = draw_tile(number, kind), f"{number:03}"
            _write(tile.image, root / split / kind / f"{name}.png")
            if kind != GOOD:
                _write(255 * tile.mask, root / "ground_truth" / kind / f"{name}_mask.png")
            number += 1


def write_pictures(folder: str | os.PathLike[str], count: int) -> None:
    """Draws pictures of anything, of 128 x 128 pixels, for stage 1."""
    for number in range(count):
        _write(draw_picture(number), Path(folder) / f"{number:03}.png")


def _write(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
