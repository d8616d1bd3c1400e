"""KolektorSDD2."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

import tensorflow_datasets as tfds

from vqad.data.builders.base import Record, SurfaceBuilder, mask_for
from vqad.data.builders.files import Files
from vqad.data.decode import decode_mask
from vqad.data.layouts import GOOD

TRAIN_IDS = range(10000, 12331)
TEST_IDS = range(20000, 21004)


@cache
def labelled_ids() -> Mapping[int, frozenset[int]]:
    """The defective training images whose masks may be used when N of them are labelled.

    Returns:
      Their ids for N = 16, 53, 126 and 246; each set holds the smaller ones, the last is all.
    """
    text = resources.files("vqad.data.builders").joinpath("ksdd2_labelled.json").read_text()
    labelled, ids = {}, frozenset()
    for number, more in json.loads(text).items():  # what each N adds to the one before
        labelled[int(number)] = ids = ids.union(more)
    return labelled


class Ksdd2(SurfaceBuilder):
    """KolektorSDD2: one surface of an industrial part, about 230 x 630 pixels, with fine masks.

    2085 good and 246 defective images to train on, 894 good and 110 defective ones to test. The
    configuration `unsupervised` trains on the good ones alone; `supervised_N` adds the N defective
    ones that Božič et al. label, with their masks.
    """

    BUILDER_CONFIGS = [  # noqa: RUF012  named and typed so by TFDS
        tfds.core.BuilderConfig(name="unsupervised", description="No defect in train"),
        *(
            tfds.core.BuilderConfig(
                name=f"supervised_{number}", description=f"{number} labelled defects in train"
            )
            for number in (16, 53, 126, 246)
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "unsupervised"
    HOMEPAGE = "https://www.vicos.si/resources/kolektorsdd2/"
    CITATION = """\
@article{bozic2021mixed,
  author = {Bo{\\v{z}}i{\\v{c}}, Jakob and Tabernik, Domen and Sko{\\v{c}}aj, Danijel},
  title = {Mixed supervision for surface-defect detection: From weakly to fully
           supervised learning},
  journal = {Computers in Industry},
  volume = {129},
  pages = {103459},
  year = {2021},
}"""
    URL = "http://go.vicos.si/kolektorsdd2"
    ARCHIVES = ("KolektorSDD2*.zip", "KSDD2*.zip")
    LAYOUT = "train/<number>.png with train/<number>_GT.png, and the same in test"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Get KolektorSDD2.zip from https://www.vicos.si/resources/kolektorsdd2/ (853 MB, for
    non-commercial use; those who have it report the SHA-256
    edcdb486809b24f1d17b785e30c52fafc5999554dd5fe18ddf77b61ceb6f36a8) and give its path or that of
    the folder it was extracted to"""

    def layout_pattern(self) -> str:
        """Pictures and masks by number: the archive also holds stray copies, '10301 (copy).png'."""
        return r"(?:[^/]+/){1,2}(?P<name>(?:train|test)/\d+(?:_GT)?\.png)"

    def records(self, files: Files) -> list[Record]:
        """Every picture, defective where its mask is not black."""
        records = []
        for name in files.names:
            if not name.endswith("_GT.png"):
                mask = mask_for(files, name, name.replace(".png", "_GT.png"))
                defective = decode_mask(files.read(mask), files.path(mask)).any()
                label = "defect" if defective else GOOD
                records.append(Record(name.partition("/")[0], name, mask, label))
        return records

    def expected(self) -> Mapping[str, int]:
        """As published."""
        return {
            "train good": 2085,
            "train defective": 246,
            "test good": 894,
            "test defective": 110,
        }

    def difference(self, records: Sequence[Record]) -> str:
        """The numbers that differ, and which images are missing, added or differently labelled."""
        published = {("train", number): number in labelled_ids()[246] for number in TRAIN_IDS}
        published |= dict.fromkeys((("test", number) for number in TEST_IDS), None)
        found = {(record.split, _number(record)): record.label != GOOD for record in records}
        differences = {
            "missing": published.keys() - found.keys(),
            "not of KolektorSDD2": found.keys() - published.keys(),
            "with the mask of another": {
                key
                for key in found.keys() & published.keys()
                if published[key] not in (None, found[key])
            },
        }
        named = [f"{what}: {_first(keys)}" for what, keys in differences.items() if keys]
        return "; ".join(filter(None, [super().difference(records), *named]))

    def is_kept(self, record: Record) -> bool:
        """The test split, the good training images and the labelled defective ones."""
        if super().is_kept(record):
            return True
        _, _, number = self.builder_config.name.partition("supervised_")
        if number == "246":  # all, also of a part whose pictures have other numbers
            return True
        return bool(number) and _number(record) in labelled_ids()[int(number)]


def _number(record: Record) -> int:
    return int(re.sub(r"\D", "", record.name))


def _first(keys: set[tuple[str, int]], at_most: int = 3) -> str:
    names = [f"{split}/{number}" for split, number in sorted(keys)]
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
