"""What was probably meant by a folder that is in no known layout, or nearly in one."""

import re
from collections.abc import Collection
from difflib import SequenceMatcher
from pathlib import Path
from typing import Literal

from vqad.data.tree import pictures_in, subfolders

SYNONYMS = {
    "good": ("ok", "normal", "nominal", "defectfree", "nodefect"),
    "train": ("training",),
    "test": ("testing",),
    "groundtruth": ("gt", "mask", "masks", "truth"),
}


def kind_of(root: Path) -> Literal["mvtec", "ksdd2"] | None:
    """The layout with masks that a folder has, by its folders and the names of its masks."""
    if any((root / part).is_dir() for part in ("train/good", "test/good", "ground_truth")):
        return "mvtec"
    return "ksdd2" if any(_has_ksdd2_mask(root / part) for part in ("train", "test")) else None


def _has_ksdd2_mask(folder: Path) -> bool:
    return folder.is_dir() and any(p.name.endswith("_GT.png") for p in folder.iterdir())


def near(folder: Path, wanted: str, but: Collection[str] = ()) -> Path | None:
    """The subfolder that was probably meant to be called `wanted`: misspelt, or a synonym.

    Args:
      folder: where to look.
      wanted: the name that is missing.
      but: names that are right as they are.
    """

    def plain(name: str) -> str:
        return re.sub(r"[^a-z0-9]", "", name.lower())

    target = plain(wanted)
    for path in subfolders(folder):
        name = plain(path.name)
        if path.name not in (wanted, *but) and (
            sorted(name) == sorted(target)
            or name in SYNONYMS.get(target, ())
            or SequenceMatcher(None, name, target).ratio() >= 0.8
        ):
            return path
    return None


def _named_or_near(folder: Path, wanted: str) -> Path | None:
    return folder / wanted if (folder / wanted).is_dir() else near(folder, wanted)


def layout_hint(root: Path) -> str | None:
    """What to do with a folder that has no layout, if it seems to be meant to have one."""
    inner = [folder for folder in subfolders(root) if kind_of(folder)]
    if inner:
        names = ", ".join(str(folder) for folder in inner[:5])
        return f"the data is one level deeper: give {names}{' ...' if len(inner) > 5 else ''}"
    if root.name in ("train", "test") and kind_of(root.absolute().parent):
        return f"it is only a part: give {root.absolute().parent}"
    for split in ("train", "test"):
        folder = near(root, split)
        if folder and _has_ksdd2_mask(folder):
            return _rename(folder, root / split)
        if good := _named_or_near(folder or root / split, "good"):
            return _rename(good, root / split / "good")
    if truth := near(root, "ground_truth"):
        return _rename(truth, root / "ground_truth")
    if _has_ksdd2_mask(root):
        return f"put its pictures and masks into {root / 'train'} and {root / 'test'}"
    good = _named_or_near(root, "good")
    if good and len(subfolders(root)) > 1:
        return f"put the pictures of {good} into {root / 'train/good'}"
    return None


def deeper_hint(folder: Path) -> str | None:
    """Where the pictures are, if they are one level too deep."""
    for inner in subfolders(folder):
        if pictures_in(inner):
            return f"move the pictures of {inner} up into {folder}"
    return None


def mask_hint(root: Path, class_name: str, stem: str) -> str | None:
    """Where the mask of a defective picture in MVTec layout may be."""
    truth = root / "ground_truth"
    if not truth.is_dir():
        found = near(root, "ground_truth")
        return _rename(found, truth) if found else None
    folder = truth / class_name
    if not folder.is_dir():
        classes = {p.name for split in ("train", "test") for p in subfolders(root / split)}
        if found := near(truth, class_name, but=classes):
            return _rename(found, folder)
        good = near(root / "test", "good")
        return _rename(good, root / "test/good") if good == root / "test" / class_name else None
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        if re.fullmatch(rf"{re.escape(stem)}([^0-9].*)?", path.stem):
            return _rename(path, folder / f"{stem}_mask.png")
    return deeper_hint(folder)


def _rename(found: Path, wanted: Path) -> str:
    return f"rename {found} to {wanted}"
