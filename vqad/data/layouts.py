"""Where data sets keep pictures and masks, as patterns of names; and the two layouts of folders."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from vqad.data.formats import SUFFIXES

Split = Literal["train", "test"]

GOOD = "good"
DEFECT = "defect"  # where a layout has no other name for it


class Record(NamedTuple):
    """One picture: its name and those of its masks (none: no defect, or none found), class, split.

    The class is '' where only a mask could tell it and there is none.
    """

    name: str
    masks: tuple[str, ...] = ()
    label: str = GOOD
    split: str = "train"


class Layout(NamedTuple):
    r"""Pictures and masks by their names, which are relative and have slashes.

    `picture` matches a picture's whole name. Its groups `split` and `label`, where it has them, are
    the record's; without `label`, a picture is defective where a mask of it is not black. Each of
    `masks` matches the whole names of masks: a mask belongs to the pictures whose groups are the
    same, by the first of the patterns for which there are such. Without `masks` all are good.
    `usual` is what a mask is usually called, with groups as `\g<label>`.
    """

    picture: str
    masks: tuple[str, ...] = ()
    usual: str = ""

    def records(self, names: Collection[str], is_black: Callable[[str], bool]) -> list[Record]:
        """The pictures among all names, in their order; `is_black` of masks is asked in threads."""
        picture, masks = re.compile(self.picture), [re.compile(mask) for mask in self.masks]
        shared = masks[0].groupindex if masks else ()
        found = list(filter(None, map(picture.fullmatch, sorted(names))))

        def key(match: re.Match) -> tuple[str, ...]:
            return tuple(match[group] for group in shared)

        pictures, owned = set(map(key, found)), defaultdict(list)
        for name in sorted(names) if masks else ():
            keys = (key(match) for mask in masks if (match := mask.fullmatch(name)))
            if (owner := next(filter(pictures.__contains__, keys), None)) is not None:
                owned[owner].append(name)
        labelled = "label" in picture.groupindex

        def record(match: re.Match) -> Record:
            groups, masks = match.groupdict(), tuple(owned.get(key(match), ()))
            label = groups.get("label", "" if self.masks else GOOD)
            if masks and not labelled:
                label = GOOD if all(map(is_black, masks)) else DEFECT
            masks = () if labelled and label == GOOD else masks
            return Record(match[0], masks, label, groups.get("split", "train"))

        with ThreadPoolExecutor() as pool:
            return list((map if labelled else pool.map)(record, found))

    def mask_of(self, name: str) -> str:
        """What the mask of a picture is usually called."""
        return re.fullmatch(self.picture, name).expand(self.usual)


_SUFFIX = f"(?i:{'|'.join(map(re.escape, SUFFIXES))})"

_IN = "ground_truth/(?P<label>[^/]+)/(?P<stem>.+?)"
_NUMBER = r"[ _.-]*\(?\d+\)?"
MVTEC = Layout(
    rf"(?s)(?P<split>train|test)/(?P<label>[^/]+)/(?P<stem>.+){_SUFFIX}",
    (
        rf"(?s){_IN}_mask{_SUFFIX}",
        rf"(?s){_IN}{_SUFFIX}",
        rf"(?s){_IN}_mask{_NUMBER}{_SUFFIX}",  # several of one picture: 000_mask_2.png
        rf"(?s){_IN}/[^/]+{_SUFFIX}",  # in a folder called as the picture: 000/000.png
        rf"(?s){_IN}[ _.-]\(?\d+\)?{_SUFFIX}",
    ),
    r"ground_truth/\g<label>/\g<stem>_mask.png",
)
# Masks and their copies, `1_GT (copy).png`, are no pictures.
KSDD2 = Layout(
    rf"(?P<split>train|test)/(?P<stem>(?![^/]*_GT)[^/]+){_SUFFIX}",
    (r"(?P<split>train|test)/(?P<stem>[^/]+)_GT(?:[_-]?\d+)?\.png",),
    r"\g<split>/\g<stem>_GT.png",
)
LAYOUTS = {"mvtec": MVTEC, "ksdd2": KSDD2}

IN_WORDS = (
    "MVTec layout (train/good, test/good, test/<defect>, ground_truth/<defect>/<name>_mask.png)"
    " or KSDD2 layout (train/<number>.png with train/<number>_GT.png, and the same in test)"
)


def kind_of(names: Collection[str]) -> str | None:
    """Which of `LAYOUTS` a folder is in, by the names of its folders (with a slash) and masks."""
    if not {"train/good/", "test/good/", "ground_truth/"}.isdisjoint(names):
        return "mvtec"
    mask = re.compile(r"(train|test)/[^/]*_GT\.png")
    return "ksdd2" if any(map(mask.fullmatch, names)) else None
