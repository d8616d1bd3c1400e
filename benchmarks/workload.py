"""What is timed: sizes, and folders of pictures that both contestants read."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Workload:
    """Sizes of a measurement.

    Attributes:
      side: height and width of the images.
      batch: images in a batch.
      num_codes: codes in each book.
      dtype: ``float32`` or ``bfloat16`` (the authors' code: autocast).
      pictures: folder of pictures for stage 1; PNG.
      surface: folder with ``train/good/*.png`` for stages 2 and 3.
    """

    side: int = 128
    batch: int = 4
    num_codes: int = 4096
    dtype: str = "float32"
    pictures: str = ""
    surface: str = ""

    def to_json(self) -> str:
        """The workload as a command line argument."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Workload":
        """The inverse of ``to_json``."""
        return cls(**json.loads(text))


def make_folders(folder: Path, count: int = 64, side: int = 256) -> tuple[Path, Path]:
    """Draws pictures and tiles with vqad's own generator and writes them as PNG files.

    Args:
      folder: where to.
      count: files in each.
      side: height and width that they are resized to.

    Returns:
      The folder of pictures, and the surface's folder in MVTec's layout.
    """
    from vqad.data.surface_demo.draw import draw_picture, draw_tile

    pictures, tiles = folder / "pictures", folder / "surface"
    good = tiles / "train" / "good"
    for target, draw in ((pictures, draw_picture), (good, lambda i: draw_tile(i).image)):
        target.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image = Image.fromarray(np.asarray(draw(i)))
            image.resize((side, side), Image.Resampling.BICUBIC).save(target / f"{i:03}.png")
    return pictures, tiles
