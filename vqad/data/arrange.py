"""Where each file of a folder belongs in MVTec layout, as far as the names of folders tell."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import count

from vqad.data.layouts import GOOD
from vqad.data.roles import is_of_masks, role_of
from vqad.data.scan import MASK_TAIL, masks_beside

_TEST_EACH = 5  # of good parts without a split, every fifth is for the test
_WRAPPERS = {"images", "image", "imgs", "img", "data", "pictures"}


def arranged(pictures: Collection[str]) -> dict[str, str] | None:
    """New names of pictures and masks by their names; None if it cannot be told which are good.

    Folders tell the split (`train`, `test`), masks and the class: good parts by a word for them,
    or `0` beside `1`, all others are kinds of defect then. Without a split, some good parts and
    all defective ones are for the test. Masks without a class are of the defects of their name.
    """
    beside = set(masks_beside(pictures))
    placed = {name: _place(name, name in beside) for name in sorted(pictures)}
    labels = {label for _, label, is_mask, _ in placed.values() if not is_mask}
    good = {label for label in labels if role_of(label) == GOOD}
    good = {"0"} if labels == {"0", "1"} else good
    if not good or "" in labels:
        return None
    names = {"1": "defective"} if labels == {"0", "1"} else {}
    names |= dict.fromkeys(good, GOOD)
    moves: dict[str, str] = {}
    taken: set[str] = set()

    def move(old: str, candidates: Iterator[str]) -> None:
        moves[old] = next(new for new in candidates if new not in taken)
        taken.add(moves[old])

    defects = defaultdict(set)
    number = 0
    for name, (split, label, is_mask, rest) in placed.items():
        if is_mask:
            continue
        label = names.get(label, label)
        if not split and label == GOOD:
            number += 1
            split = "test" if number % _TEST_EACH == 2 and labels != good else "train"
        folder, own = f"{split or 'test'}/{label}", os.path.dirname(name).replace("/", "_")
        # The folders that it lay in tell it from its namesake.
        move(name, (f"{folder}/{f'{own}_' * i}{rest}" for i in count()))
        if label != GOOD:
            defects[os.path.splitext(rest)[0]].add(label)
    for name, (_, label, is_mask, rest) in placed.items():
        if not is_mask:
            continue
        stem, suffix = os.path.splitext(rest)
        stem = stem if stem in defects else MASK_TAIL.sub("", stem)
        of = {names.get(label, label)} if label else defects.get(stem, set())
        if len(of) == 1 and (kind := next(iter(of))) != GOOD:
            start = f"ground_truth/{kind}/{stem}_mask"
            move(name, (f"{start}{f'_{i}' * (i > 1)}{suffix}" for i in count(1)))
    return moves


def _place(name: str, is_mask: bool) -> tuple[str, str, bool, str]:
    """The split ('' if it is not told), label, whether it is a mask, and the rest of a name."""
    split, label, rest = "", "", []
    *folders, file = name.split("/")
    for folder in folders:
        role = role_of(folder)
        if role in ("train", "test", "validation") and not split:
            split = "test" if role == "validation" else role
        elif is_of_masks(folder):
            is_mask = True
        elif not label and folder.lower() not in _WRAPPERS:
            label = folder
        elif folder.lower() not in _WRAPPERS:
            rest.append(folder)
    return split, label, is_mask, "/".join((*rest, file))


def renames(moves: Mapping[str, str], folders: Collection[str]) -> list[tuple[str, str]] | None:
    """Folders to rename, one after the other, that come to the same as moves of single files.

    None if there are none such, or one of them is there already: no file is ever written over.
    """
    steps: dict[str, str] = {}
    for old, new in moves.items():
        before, after = old.split("/"), new.split("/")
        if len(before) != len(after) or before[-1] != after[-1]:
            return None
        for i in range(len(before) - 1):
            here = "/".join((*after[:i], before[i]))
            if before[i] != after[i]:
                there = "/".join(after[: i + 1])
                if steps.setdefault(here, there) != there:
                    return None
    targets = list(steps.values())
    if len(set(targets)) < len(targets) or any(f"{target}/" in folders for target in targets):
        return None
    return sorted(steps.items(), key=lambda step: step[0].count("/")) or None
