"""KolektorSDD, the first one."""

import re
from collections.abc import Mapping

from vqad.data.builders.base import Record, SurfaceBuilder, mask_for
from vqad.data.builders.files import Files
from vqad.data.decode import decode_mask
from vqad.data.layouts import GOOD


class KolektorSdd(SurfaceBuilder):
    """KolektorSDD: commutators with cracks, 500 pixels wide, eight pictures around each item.

    399 pictures of 50 items, 52 of them defective, with masks. The archive has no split; here all
    pictures of an item stay together: those of items with an odd number (kos01, kos03 ...) are for
    training, without the defective ones, those of items with an even number for testing.
    """

    HOMEPAGE = "https://www.vicos.si/resources/kolektorsdd/"
    CITATION = """\
@article{tabernik2020segmentation,
  author = {Tabernik, Domen and {\\v{S}}ela, Samo and Skvar{\\v{c}}, Jure and
            Sko{\\v{c}}aj, Danijel},
  title = {Segmentation-based deep-learning approach for surface-defect detection},
  journal = {Journal of Intelligent Manufacturing},
  volume = {31},
  number = {3},
  pages = {759--776},
  year = {2020},
}"""
    URL = "https://go.vicos.si/kolektorsdd"
    ARCHIVES = ("KolektorSDD.zip", "KSDD.zip")
    LAYOUT = "kos<number>/Part<number>.jpg with kos<number>/Part<number>_label.bmp"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Get KolektorSDD.zip from https://www.vicos.si/resources/kolektorsdd/ (102 MB, for non-commercial
    use; not the variant with boxes) and give its path or that of the folder it was extracted to"""

    def layout_pattern(self) -> str:
        """Pictures and masks by item and part."""
        return r"(?:[^/]+/){1,2}(?P<name>kos\d+/Part\d+(?:\.jpg|_label\.bmp))"

    def records(self, files: Files) -> list[Record]:
        """Every picture, defective where its mask is not black."""
        records = []
        for name in files.names:
            if name.endswith(".jpg"):
                mask = mask_for(files, name, name.replace(".jpg", "_label.bmp"))
                defective = decode_mask(files.read(mask), files.path(mask)).any()
                split = "train" if int(re.findall(r"\d+", name)[0]) % 2 else "test"
                records.append(Record(split, name, mask, "defect" if defective else GOOD))
        return records

    def expected(self) -> Mapping[str, int]:
        """As published."""
        return {GOOD: 347, "defect": 52}
