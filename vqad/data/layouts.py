"""Where data sets keep pictures and masks, as patterns of names; and the two layouts of folders."""

import re
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from vqad.data.decode import SUFFIXES

Split = Literal["train", "test"]

GOOD = "good"
DEFECT = "defect"  # where a layout has no other name for it


class Record(NamedTuple):
    """One picture: its name and its mask's (None: no defect, or none found), its class and split.

    The class is '' where only a mask could tell it and there is none.
    """

    name: str
    mask: str | None = None
    label: str = GOOD
    split: str = "train"


class Layout(NamedTuple):
    r"""Pictures and masks by their names, which are relative and have slashes.

    `picture` matches a picture's whole name. Its groups `split` and `label`, where it has them, are
    the record's; without `label`, a picture is defective where its mask is not black. `masks` are
    what its mask may be called, the usual first, with groups as `\g<label>`; none if all are good.
    """

    picture: str
    masks: tuple[str, ...] = ()

    def records(self, names: Collection[str], is_black: Callable[[str], bool]) -> list[Record]:
        """The pictures among all names, in their order; `is_black` of masks is asked in threads."""
        known, labelled = set(names), "(?P<label>" in self.picture

        def record(found: re.Match) -> Record:
            groups = found.groupdict()
            mask = next((mask for mask in map(found.expand, self.masks) if mask in known), None)
            label = groups.get("label", "" if self.masks else GOOD)
            if mask and not labelled:
                label = GOOD if is_black(mask) else DEFECT
            mask = None if labelled and label == GOOD else mask
            return Record(found[0], mask, label, groups.get("split", "train"))

        pictures = filter(None, map(re.compile(self.picture).fullmatch, sorted(known)))
        with ThreadPoolExecutor() as pool:
            return list((map if labelled else pool.map)(record, pictures))

    def mask_of(self, name: str) -> str:
        """What the mask of a picture is usually called."""
        return re.fullmatch(self.picture, name).expand(self.masks[0])


_SUFFIX = f"(?i:{'|'.join(map(re.escape, SUFFIXES))})"

# JPEG would smear a mask over its surroundings.
_KEPT = [ending for kept in ("png", "bmp", "tif", "tiff") for ending in (kept, kept.upper())]
_MASKS = [f"{tail}.{ending}" for tail in ("_mask", "") for ending in _KEPT]
MVTEC = Layout(
    rf"(?P<split>train|test)/(?P<label>[^/]+)/(?P<stem>[^/]+){_SUFFIX}",
    tuple(rf"ground_truth/\g<label>/\g<stem>{tail}" for tail in _MASKS),
)
# Pictures are called by a number alone; copies of masks and the like are not pictures.
KSDD2 = Layout(rf"(?P<split>train|test)/(?P<stem>\d+){_SUFFIX}", (r"\g<split>/\g<stem>_GT.png",))
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
