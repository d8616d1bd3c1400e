"""What folders are called for: a split, masks, good parts or defective ones, in any spelling."""

import re
from collections.abc import Collection
from difflib import SequenceMatcher
from functools import cache
from typing import Literal

from vqad.data.layouts import GOOD

Role = Literal["train", "test", "validation", "ground_truth", "good", "defective"]

_WORDS = {
    "train": "train training",
    "test": "test testing",
    "validation": "validation valid val eval",
    "ground_truth": "groundtruth gt truth mask masks label labels annotation annotations seg "
    "segmentation segmentations",
    GOOD: "good ok normal nominal defectfree nodefect nodefects nondefective anomalyfree noanomaly "
    "noanomalies io pass passed flawless",
    "defective": "defective defect defects bad ng nok ko nio notgood notok anomaly anomalies "
    "anomalous abnormal fail failed faulty reject rejects rejected",
}
_ROLES = {word: role for role, words in _WORDS.items() for word in words.split()}
_FILLING = re.compile("(part|image|img|picture|sample|piece)s?")


PLACES = ("train", "test", "ground_truth")


@cache
def role_of(folder: str) -> Role | None:
    """What a folder's name says, alone or with a word like `parts` beside it."""
    plain = "".join(word for word in _words(folder) if not _FILLING.fullmatch(word))
    if plain in _ROLES:
        return _ROLES[plain]
    return next((n for n in (*PLACES, GOOD) if _misspelt(plain, n.replace("_", ""))), None)


def is_of_masks(folder: str) -> bool:
    """Whether a folder below others is called as one of masks, as `scratch_mask` is."""
    *others, last = _words(folder) or [""]
    return role_of(folder) == "ground_truth" or (bool(others) and role_of(last) == "ground_truth")


def _words(folder: str) -> list[str]:
    """The words of a name, small, without numbers unless there is nothing else."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", folder)]
    return [word for word in words if not word.isdigit()] or words


def _misspelt(name: str, target: str) -> bool:
    """Letters in another order, or a few too many or too few; not brain or terrain for train."""
    if name[:1] != target[0] or abs(len(name) - len(target)) > max(1, len(target) // 3):
        return False
    return sorted(name) == sorted(target) or SequenceMatcher(None, name, target).ratio() >= 0.8


def corrected(name: str) -> str:
    """A name with its first folders as a layout has them, where they are misspelt or synonyms."""
    first, *rest = name.split("/")
    if rest and (role := role_of(first)) in PLACES:
        first = role
    if first in ("train", "test") and len(rest) > 1 and role_of(rest[0]) == GOOD:
        rest[0] = GOOD
    return "/".join((first, *rest))


def of_defects(folders: Collection[str]) -> list[str]:
    """Of the names of folders beside each other, those that good parts are surely not kept in.

    `0` and `1` are good and defective where there are these two alone.
    """
    odd = [name for name in folders if role_of(name) == "defective" or is_of_masks(name)]
    return ["1"] if set(folders) == {"0", "1"} else odd
