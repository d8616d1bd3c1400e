"""Moves 16 defective test tiles to training, as labelled defects: a fixed list, for comparisons.

python benchmarks/labelled_tiles.py /data/magnetic_tile /data/magnetic_tile_16

The source is in MVTec layout; the copy has `train/<class>` beside `train/good`.
"""

import shutil
import sys
from pathlib import Path

LABELLED = {
    "blowhole": (
        "exp1_num_4944",
        "exp3_num_3710",
        "exp5_num_291077",
        "exp6_num_322697",
    ),
    "break": ("exp2_num_241913", "exp3_num_77583", "exp5_num_320724"),
    "crack": ("exp2_num_86854", "exp5_num_116575", "exp6_num_32235"),
    "fray": ("exp1_num_331149", "exp3_num_258558", "exp6_num_135686"),
    "uneven": ("exp1_num_352479", "exp3_num_172286", "exp5_num_33487"),
}


def main(source: str, target: str) -> None:
    """Copies the folder and moves the tiles of the list."""
    shutil.copytree(source, target)
    for kind, names in LABELLED.items():
        folder = Path(target, "train", kind)
        folder.mkdir()
        for name in names:
            shutil.move(Path(target, "test", kind, f"{name}.jpg"), folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
