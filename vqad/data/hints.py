"""What was probably meant by a folder that is in no known layout, or nearly in one."""

import re
from collections.abc import Collection
from difflib import SequenceMatcher, get_close_matches
from functools import cache
from pathlib import PurePath

from etils.epath import Path

from vqad.data.layouts import GOOD, kind_of

_SYNONYMS = {
    "train": ("training",),
    "test": ("testing",),
    "ground_truth": ("gt", "mask", "masks", "truth"),
    GOOD: ("ok", "normal", "nominal", "defectfree", "nodefect"),
}
_PLACES = {"ksdd2": {"train/", "test/"}}
_PLACES["mvtec"] = _PLACES["ksdd2"] | {"ground_truth/", "train/good/", "test/good/"}
# Good images beside others, and masks, where no layout has them.
_PARTS = re.compile(
    r"(good|ok|normal)/|[^/]+_gt\.png|(train|test)/((gt|masks?)/.+|[^/]+_(gt|mask|label)\.\w+)",
    re.IGNORECASE,
)


def misplaced(root: Path, names: Collection[str]) -> str | None:
    """What to do with a folder that has not quite a layout, if it seems to be meant to have one.

    Of the `names` of what lies in it, those of folders end with a slash.
    """
    right = {_corrected(name): name for name in names}
    if not _PLACES["ksdd2"].isdisjoint(right) and (kind := kind_of(right.keys())):
        for wanted in sorted(_PLACES[kind].intersection(right).difference(names)):
            return f"rename {root / right[wanted]} to {root / wanted}"
    if kind_of(names):
        return None
    for name in names:
        first, second, *_ = *name.split("/"), ""
        if kind_of({name.partition("/")[2]}):
            return f"the data is one level deeper: give {root / first}"
        if kind_of({name.replace(f"/{second}", "", 1)}):
            inner = root / first / second
            return f"it is one level too deep: move what is in {inner} up into {root / first}"
    several = len({name.partition("/")[0] for name in names}) > 1
    odd = (n for n in names if _PARTS.fullmatch(n) and (several or n[-1] != "/"))
    return next((f"{root / name} has another place or name there" for name in odd), None)


def _corrected(name: str) -> str:
    """A folder's name as a layout has it, where it is misspelt or a synonym; else the name."""
    first, *rest = name.split("/")
    first = _nearest(first, ("train", "test", "ground_truth")) if rest else first
    if first in ("train", "test") and len(rest) > 1:
        rest[0] = _nearest(rest[0], (GOOD,))
    return "/".join((first, *rest))


@cache
def _nearest(name: str, wanted: Collection[str]) -> str:
    """Which of some names was probably meant; the name itself if none."""
    plain = re.sub(r"[\W_]+", "", name.lower())
    for each in wanted:
        if plain in _SYNONYMS[each] or _misspelt(plain, each.replace("_", "")):
            return each
    return name


def _misspelt(name: str, target: str) -> bool:
    """Letters in another order, or a few too many or too few; not brain or terrain for train."""
    if name[:1] != target[0] or abs(len(name) - len(target)) > max(1, len(target) // 3):
        return False
    return sorted(name) == sorted(target) or SequenceMatcher(None, name, target).ratio() >= 0.8


def likely_mask(picture: str, wanted: str, spare: Collection[str]) -> str | None:
    """Among the files that belong to no picture, what may be the mask that should be `wanted`."""
    stem = re.escape(PurePath(picture).stem)
    close = [name for name in spare if re.fullmatch(rf"(.*/)?{stem}(\D[^/]*)?", name)]
    return next(iter(get_close_matches(wanted, close, 1)), None)
