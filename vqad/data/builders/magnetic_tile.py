"""Magnetic tile defects."""

import re
from collections.abc import Mapping, Sequence

from vqad.data.builders.base import Record, SurfaceBuilder, mask_for
from vqad.data.builders.files import Files
from vqad.data.layouts import GOOD

NUMBERS = {GOOD: 952, "blowhole": 115, "break": 85, "crack": 57, "fray": 32, "uneven": 103}
TEST_EVERY = 4


class MagneticTile(SurfaceBuilder):
    """Magnetic tiles: grey pictures of several sizes with five kinds of defects and masks.

    952 good and 392 defective pictures. The archive has no split; here all pictures of a tile (the
    number in exp<N>_num_<number>.jpg; exp is the exposure) stay together: a tile is for testing if
    it is defective in a picture or if 4 divides its number, all others are for training.
    """

    HOMEPAGE = "https://github.com/abin24/Magnetic-tile-defect-datasets."
    CITATION = """\
@article{huang2020surface,
  author = {Huang, Yibin and Qiu, Congying and Yuan, Kui},
  title = {Surface defect saliency of magnetic tile},
  journal = {The Visual Computer},
  volume = {36},
  number = {1},
  pages = {85--96},
  year = {2020},
}"""
    ARCHIVES = ("Magnetic*.zip",)
    LAYOUT = (
        "MT_Free/Imgs, MT_Blowhole/Imgs, MT_Break/Imgs, MT_Crack/Imgs, MT_Fray/Imgs and "
        "MT_Uneven/Imgs, each with exp<N>_num_<number>.jpg and masks .png of the same names"
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Download https://github.com/abin24/Magnetic-tile-defect-datasets. as a zip (the full stop
    belongs to the address) and give its path or that of the folder it was extracted to"""

    def layout_pattern(self) -> str:
        """Pictures and masks by kind of defect and number of tile."""
        kinds = "|".join(["Free", *(name.capitalize() for name in NUMBERS if name != GOOD)])
        file = rf"MT_(?:{kinds})/Imgs/exp\d+_num_\d+\.(?:jpg|png)"
        return rf"(?:[^/]+/){{1,2}}(?P<name>{file})"

    def classes(self) -> Sequence[str]:
        """'good' and the five defects."""
        return tuple(NUMBERS)

    def records(self, files: Files) -> list[Record]:
        """Every picture, its class from its folder."""
        pictures = [name for name in files.names if name.endswith(".jpg")]
        damaged = {_tile(name) for name in pictures if _label(name) != GOOD}
        records = []
        for name in pictures:
            label, tile = _label(name), _tile(name)
            mask = mask_for(files, name, name.replace(".jpg", ".png")) if label != GOOD else None
            split = "test" if tile in damaged or tile % TEST_EVERY == 0 else "train"
            records.append(Record(split, name, mask, label))
        return records

    def expected(self) -> Mapping[str, int]:
        """As published."""
        return NUMBERS


def _label(name: str) -> str:
    kind = name.partition("/")[0].removeprefix("MT_").lower()
    return GOOD if kind == "free" else kind


def _tile(name: str) -> int:
    return int(re.findall(r"_num_(\d+)", name)[0])
