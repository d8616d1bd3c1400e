"""What was probably meant by a folder that is in no known layout, or nearly in one."""

import re
from collections.abc import Collection
from difflib import SequenceMatcher
from typing import Literal

from etils.epath import Path

from vqad.data.tree import pictures_in, subfolders
from vqad.paths import absolute

SYNONYMS = {
    "good": ("ok", "normal", "nominal", "defectfree", "nodefect"),
    "train": ("training",),
    "test": ("testing",),
    "groundtruth": ("gt", "mask", "masks", "truth"),
}

_MASK_NAME = re.compile(r"(.+)_(gt|mask|label)", re.IGNORECASE)


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
    target = _plain(wanted)
    for path in subfolders(folder):
        name = _plain(path.name)
        if path.name not in (wanted, *but) and (
            name in SYNONYMS.get(target, ()) or _misspelt(name, target)
        ):
            return path
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _misspelt(name: str, target: str) -> bool:
    """Letters in another order, or a few too many or too few; not brain or terrain for train."""
    if not name or name[0] != target[:1]:
        return False
    few = max(1, len(target) // 3)
    alike = SequenceMatcher(None, name, target).ratio() >= 0.8
    return sorted(name) == sorted(target) or (alike and abs(len(name) - len(target)) <= few)


def _named_or_near(folder: Path, wanted: str) -> Path | None:
    return folder / wanted if (folder / wanted).is_dir() else near(folder, wanted)


def layout_hint(root: Path) -> str | None:
    """What to do with a folder that has no layout, if it seems to be meant to have one."""
    root = absolute(root)
    inner = [folder for folder in subfolders(root) if kind_of(folder)]
    if inner:
        names = ", ".join(str(folder) for folder in inner[:5])
        return f"the data is one level deeper: give {names}{' ...' if len(inner) > 5 else ''}"
    if root.name in ("train", "test") and kind_of(root.parent):
        return f"it is only a part: give {root.parent}"
    parts = [_named_or_near(root, split) for split in ("train", "test")]
    for split, folder in zip(("train", "test"), parts, strict=True):
        if folder is None:
            continue
        if good := _named_or_near(folder, "good"):
            return _rename(good, root / split / "good")
        if _has_ksdd2_mask(folder):
            return _rename(folder, root / split)
        if masks := _masks_of_other_names(folder):
            return (
                f"put masks beside their pictures and call them <number>_GT.png, unlike {masks}, "
                "or use folders for the classes"
            )
    if any(parts) and (truth := near(root, "ground_truth")):
        return _rename(truth, root / "ground_truth")
    if _has_ksdd2_mask(root):
        return f"put its pictures and masks into {root / 'train'} and {root / 'test'}"
    good = _named_or_near(root, "good")
    if good and len(subfolders(root)) > 1:
        return f"put the pictures of {good} into {root / 'train/good'}"
    return None


def _masks_of_other_names(folder: Path) -> Path | None:
    """A mask among the pictures of a folder or one level below it, or a folder of masks there."""
    for place in (folder, *subfolders(folder)):
        pictures = {path.stem: path for path in pictures_in(place)}
        for stem, path in pictures.items():
            match = _MASK_NAME.fullmatch(stem)
            if match and match[1] in pictures:
                return path
    return near(folder, "ground_truth")


def deeper_hint(folder: Path) -> str | None:
    """Where the pictures are, if they are one level too deep."""
    for inner in subfolders(folder):
        if pictures_in(inner):
            return f"move the pictures of {inner} up into {folder}"
    return None


def mask_hint(root: Path, picture: Path) -> str | None:
    """Where the mask of a defective picture in MVTec layout may be."""
    truth, class_name = root / "ground_truth", picture.parent.name
    if not truth.is_dir():
        found = near(root, "ground_truth")
        return _rename(found, truth) if found else None
    folder = truth / class_name
    if not folder.is_dir():
        beside = {path.name for path in subfolders(picture.parent.parent)}
        if found := near(truth, class_name, but=beside):
            return f"give {picture.parent} and {found} one name"
        is_good = near(picture.parent.parent, "good") == picture.parent
        return _rename(picture.parent, picture.parent.with_name("good")) if is_good else None
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        if re.fullmatch(rf"{re.escape(picture.stem)}(\D.*)?", path.stem):
            wanted = folder / f"{picture.stem}_mask.png"
            if path.suffix.lower() in (".jpg", ".jpeg"):
                return f"save {path}, in black and white, as {wanted}"
            return _rename(path, wanted)
    return deeper_hint(folder)


def _rename(found: Path, wanted: Path) -> str:
    return f"rename {found} to {wanted}"
