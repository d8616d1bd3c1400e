"""What was probably meant by a folder that is in no known layout, or nearly in one."""

import os
import re
from collections import Counter
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import PurePath

from vqad.data.arrange import arranged, renames
from vqad.data.layouts import GOOD, kind_of
from vqad.data.roles import corrected, is_of_masks, of_defects, role_of
from vqad.data.scan import Scan, masks_beside

_PUBLIC = {  # raw trees of public data sets, which have no split of their own, by a file in them
    "visa/<object>": r"(.+/)?Data/Images/(Normal|Anomaly)/[^/]+",
    "kolektor_sdd": r"(.+/)?kos\d+/Part\d+\.jpg",
    "magnetic_tile": r"(.+/)?MT_(Free|Blowhole|Break|Crack|Fray|Uneven)/Imgs/[^/]+",
}
_TOLD = 6  # folders


def misplaced(found: Scan) -> str | None:
    """Why a folder is in no layout, if it seems to be meant to have one, and what to do.

    None also for pictures of one kind, which may all be good parts.
    """
    names = {*found.names, *found.folders}
    kind, root = kind_of(names), found.root
    odd = _misnamed(found.folders, kind)
    if kind and not odd:
        return None
    if kind is None:
        for data_set, tree in _PUBLIC.items():
            if any(re.fullmatch(tree, name) for name in found.names):
                known, fix = data_set.partition("/")[0], f"; or `vqad doctor {root} --fix OUT`"
                return (
                    f"it looks like {known} as published; `vqad prepare {data_set} {root}`, then "
                    f"train on tfds:{data_set}{fix if arranged(found.pictures) else ''}"
                )
        if elsewhere := _elsewhere(found):
            return elsewhere
    pictures = found.pictures
    right = set(map(corrected, names))
    meant = kind or ({"train/", "test/"}.intersection(right) and kind_of(right))
    several = len({os.path.dirname(name) for name in pictures}) > 1
    if role_of(root.name) in ("train", "test") and several:
        return f"it is a split alone; give the folder above, {root.parent}"
    if not (why := f"{root / odd[0]} has another name there" if odd and meant else _several(found)):
        return None
    moves = {name: corrected(name) for name in found.names}
    if not (meant and renames(moves, found.folders)):
        moves = arranged(pictures)
    if moves is None:
        return f"{why}; which pictures show good parts? Put those in {root / 'train' / GOOD}"
    if steps := renames(moves, found.folders):
        told = [f"rename {root / old} to {root / new}" for old, new in steps]
        return f"{why}; {' and '.join(told)}"
    taken = list(dict.fromkeys(_taken(old, new) for old, new in moves.items()))
    more = f" and {len(taken) - _TOLD} more" if len(taken) > _TOLD else ""
    told = f"`vqad doctor {root} --fix OUT` writes a copy with {', '.join(taken[:_TOLD])}{more}"
    split = any(role_of(folder.split("/")[0]) in ("train", "test") for folder in found.folders)
    return f"{why}; {told}{'' if split else ' (some good ones for the test)'}"


def _taken(old: str, new: str) -> str:
    """In words, as what a file is taken."""
    split, label = new.split("/")[:2]
    kind = f"masks of {label}" if split == "ground_truth" else f"{label} parts"
    return f"{os.path.dirname(old) or old} as {kind}"


def _misnamed(folders: Collection[str], kind: str | None) -> list[str]:
    """Folders that are called nearly as a layout has them, or masks where pictures belong."""
    odd = []
    for folder in sorted(folders):
        right, parts = corrected(folder), folder.rstrip("/").split("/")
        first_is_free = len(parts) > 1 or right not in folders
        known = kind != "ksdd2" or right in ("train/", "test/")
        if right != folder and len(parts) <= 2 and first_is_free and known:
            odd.append(folder)
        in_split = len(parts) == 2 and parts[0] in ("train", "test")
        its_masks = f"ground_truth/{parts[-1]}/"
        if in_split and is_of_masks(parts[1]) and its_masks not in folders:
            odd.append(folder)
    return odd


def _elsewhere(found: Scan) -> str | None:
    """Where the data is, if it is a level deeper or a level too deep."""
    tops, inner = set(), {}
    for name in {*found.names, *found.folders}:
        first, second, *_ = *name.split("/"), ""
        right = corrected(name.partition("/")[2])
        if right != "ground_truth/" and kind_of({right}):
            tops.add(first)
        elif kind_of({name.replace(f"/{second}", "", 1)}):
            inner[f"{first}/{second}"] = first
    if tops:
        several = "one of " if len(tops) > 1 else ""
        told = " or ".join(str(found.root / top) for top in sorted(tops))
        return f"the data is one level deeper: give {several}{told}"
    taken = [
        f"{new}/{name[len(old) + 1 :]}"
        for old, new in inner.items()
        for name in found.names
        if name.startswith(f"{old}/")
    ]
    if inner and len(set(taken)) == len(taken) and found.names.keys().isdisjoint(taken):
        moves = [f"what is in {found.root / o} up into {found.root / n}" for o, n in inner.items()]
        return f"it is one level too deep: move {' and '.join(sorted(moves))}"
    return None


def _several(found: Scan) -> str | None:
    """Why pictures without a layout are not all of one kind; None if they may be."""
    root, pictures = found.root, found.pictures
    if masks := masks_beside(pictures):
        return f"{root / masks[0]} is called as a mask"
    stems = Counter(os.path.splitext(name)[0] for name in pictures)
    if len(stems) > 1 and set(stems.values()) == {2}:
        first, second = pictures[:2]
        return f"{root / first} and {root / second} are of one name, as a picture and its mask"
    parents = sorted({os.path.dirname(name) for name in pictures})
    parts = [part for parent in parents for part in parent.split("/") if part]
    odd = ["1"] if (parts or [root.name]) == ["1"] else of_defects(parts)
    if odd or role_of(root.name) in ("defective", "ground_truth"):
        return f"a folder called {(odd or [root.name])[0]} is not taken for good parts"
    if len(parents) > 1:
        return f"several folders of pictures ({', '.join(p or '.' for p in parents[:4])})"
    words = ((name, re.split(r"[\d_. -]+", PurePath(name).stem)) for name in pictures)
    bad = next((name for name, parts in words if "defective" in map(role_of, parts)), None)
    return f"{root / bad} is called defective" if bad else None


def likely_mask(picture: str, wanted: str, spare: Collection[str]) -> str | None:
    """Among the files that belong to no picture, what may be the mask that should be `wanted`."""
    stem = re.escape(PurePath(picture).stem)
    close = [name for name in spare if re.fullmatch(rf"(?i)(.*/)?{stem}(\D[^/]*)?", name)]
    return next(iter(get_close_matches(wanted, close, 1)), None)
