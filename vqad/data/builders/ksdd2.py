"""KolektorSDD2."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from vqad.data.builders.base import FilesBuilder
from vqad.data.layouts import GOOD, KSDD2, Record

TRAIN_IDS = range(10000, 12331)
TEST_IDS = range(20000, 21004)


@cache
def labelled_ids() -> Mapping[int, frozenset[int]]:
    """Ids of the N defective training images with masks that count as labelled.

    For N = 16, 53, 126 and 246; each set holds the smaller ones, the last is all.
    """
    text = resources.files("vqad.data.builders").joinpath("ksdd2_labelled.json").read_text()
    labelled, ids = {}, frozenset()
    for number, more in json.loads(text).items():  # what each N adds to the one before
        labelled[int(number)] = ids = ids.union(more)
    return labelled


class Ksdd2(FilesBuilder):
    """KolektorSDD2: one surface of an industrial part, about 230 x 630 pixels, with fine masks.

    2085 good and 246 defective images to train on, 894 good and 110 defective ones to test. The
    configuration `unsupervised` trains on the good ones alone; `supervised_N` adds the N defective
    ones that Božič et al. label, with their masks.
    """

    DEFAULT_BUILDER_CONFIG_NAME = "unsupervised"
    # By number: the archive also holds stray copies, '10301 (copy).png'.
    FILES = r"(?:train|test)/\d+(?:_GT)?\.png"
    LAYOUT = KSDD2

    def difference(self, records: Sequence[Record]) -> str:
        """The numbers that differ, and which images are missing, added or differently labelled."""
        published = {f"train/{n}.png": n in labelled_ids()[246] for n in TRAIN_IDS}
        published |= {f"test/{n}.png": None for n in TEST_IDS}
        found = {record.name: record.label != GOOD for record in records}
        both = published.keys() & found.keys()
        named = {
            "missing": published.keys() - both,
            "not of KolektorSDD2": found.keys() - both,
            "with the mask of another": {n for n in both if published[n] not in (None, found[n])},
        }
        first = {what: ", ".join(sorted(names)[:3]) for what, names in named.items()}
        more = [f"{what}: {first[what]} ({len(names)})" for what, names in named.items() if names]
        return "; ".join(filter(None, [super().difference(records), *more]))

    def is_kept(self, record: Record) -> bool:
        """The test split, the good training images and the labelled defective ones."""
        number = self.builder_config.name.partition("supervised_")[2]
        if super().is_kept(record) or number == "246":
            return True  # 246 is all, also of a part whose pictures have other numbers
        return bool(number) and int(re.sub(r"\D", "", record.name)) in labelled_ids()[int(number)]
