"""Folders of pictures: which layout a folder has, what it holds, and what is wrong with its names.

Everything is found before any training starts, in sorted order.
"""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from etils.epath import Path

from vqad.data.decode import decode_mask
from vqad.data.findings import Finding
from vqad.data.hints import deeper_hint, kind_of, layout_hint, mask_hint, near
from vqad.data.tree import (
    SUFFIXES,
    files_in,
    is_picture,
    links_out_of,
    pictures_below,
    pictures_in,
    subfolders,
)
from vqad.errors import VqadError

Split = Literal["train", "test"]

GOOD = "good"

MASK_SUFFIXES = (".png", ".PNG", ".bmp", ".BMP", ".tif", ".TIF", ".tiff", ".TIFF")
"""Of masks in MVTec layout; JPEG would smear a mask over its surroundings."""

LAYOUTS = (
    "MVTec layout (train/good, test/good, test/<defect>, ground_truth/<defect>/<name>_mask.png)"
    " or KSDD2 layout (train/<number>.png with train/<number>_GT.png, and the same in test)"
)

_NO_PICTURES = f"no pictures in it ({' '.join(SUFFIXES)}); check the path"


class NoTestSplit(VqadError):
    """There are images to train with, but none to judge with."""


class Record(NamedTuple):
    """One picture: its path, its mask's path (None: no defect), label 0 or 1, and its class."""

    path: str
    mask_path: str | None
    label: int
    class_name: str


class Layout(NamedTuple):
    """What a folder holds: its kind, its classes ('good' first), its records in order; findings."""

    kind: Literal["pictures", "mvtec", "ksdd2"]
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    findings: tuple[Finding, ...] = ()


def read_folder(
    path: str | os.PathLike, split: Split, labelled: bool = False, tree: bool = False
) -> Layout:
    """Recognises the layout of a folder and lists one split of it, without reading the pictures.

    Training takes pictures without a defect; any tree of pictures can be trained on, but only the
    two layouts with masks have a test split. What is wrong with single files is among the findings,
    and a defective picture whose mask is missing not among the records.

    Args:
      path: The folder.
      split: 'train' or 'test'.
      labelled: Whether to list the defective training pictures with masks as well, after the good
        ones.
      tree: Whether it may be any tree of pictures, however its folders are called, and is not meant
        to be a surface.

    Raises:
      VqadError: The folder is missing, empty, not to be read, or in no known layout but seems to be
        meant to be; the split lacks good or defective pictures.
      NoTestSplit: There is nothing to test on.
    """
    try:
        return _read_folder(Path(path).expanduser(), split, labelled, tree)
    except OSError as error:
        reason = error.strerror or error
        raise VqadError(
            f"{error.filename or path}: cannot be read ({reason}); check it and its permissions"
        ) from error


def _read_folder(root: Path, split: Split, labelled: bool, tree: bool) -> Layout:
    if not root.exists():
        raise VqadError(f"{root}: no such folder; give the path of a folder of pictures")
    if not root.is_dir():
        raise VqadError(f"{root}: a file, not a folder; give the folder that the pictures are in")
    if (root / "dataset_info.json").is_file():
        raise VqadError(
            f"{root}: a data set that TFDS prepared; give tfds:<name>[/<config>], and the folder "
            "that holds <name> as data_dir"
        )
    kind = kind_of(root)
    if kind is None and not tree and (hint := layout_hint(root)):
        raise VqadError(f"{root}: layout not recognised; {hint}; expected {LAYOUTS}")
    if kind:
        findings: list[Finding] = []
        read = _read_mvtec if kind == "mvtec" else _read_ksdd2
        classes, records = read(root, split, labelled, findings)
    else:
        classes, findings = (GOOD,), []
        records = [Record(p, None, 0, GOOD) for p in sorted(pictures_below(root))]
    if split == "test" and not kind:
        if not records:
            raise VqadError(f"{root}: {_NO_PICTURES}")
        raise NoTestSplit(f"{root}: no test split, so nothing to judge; expected {LAYOUTS}")
    findings += _name_findings(root, records)
    findings += [
        Finding("outside", p, f"{p}: a link that leads out of {root}; put the file itself there")
        for p in links_out_of(root)
        if is_picture(os.path.basename(p)) or os.path.isdir(p)
    ]
    if not records and not any(finding.stops for finding in findings):
        raise VqadError(f"{root / split if kind else root}: {_NO_PICTURES}")
    return Layout(kind or "pictures", classes, tuple(records), tuple(findings))


def _read_mvtec(
    root: Path, split: Split, labelled: bool, findings: list[Finding]
) -> tuple[tuple[str, ...], list[Record]]:
    folder = _split_folder(root, split)
    if split == "train" and not pictures_in(folder / GOOD):
        hint = deeper_hint(folder / GOOD)
        if hint is None and not (folder / GOOD).is_dir() and (found := near(folder, GOOD)):
            hint = f"rename {found} to {folder / GOOD}"
        raise VqadError(
            f"{folder / GOOD}: no pictures; {hint or 'put the defect-free training pictures there'}"
        )
    names = {p.name for p in subfolders(folder)} if split == "test" or labelled else {GOOD}
    classes = (GOOD, *sorted(names - {GOOD}))
    records = []
    for name in classes:
        pictures = pictures_in(folder / name)
        masks = set() if name == GOOD else set(files_in(root / "ground_truth" / name))
        if name in names and not pictures:
            hint = deeper_hint(folder / name)
            message = f"{folder / name}: no pictures in it; {hint or 'remove it or fill it'}"
            check = "too-deep" if hint else "class-empty"
            findings.append(Finding(check, str(folder / name), message))
        elif name in names and (hint := deeper_hint(folder / name)):
            message = f"{folder / name}: more pictures lie deeper; {hint}"
            findings.append(Finding("deeper", str(folder / name), message))
        for picture in pictures:
            if name == GOOD:
                records.append(Record(str(picture), None, 0, GOOD))
            elif mask := _mvtec_mask(root, picture, name, masks, findings):
                records.append(Record(str(picture), str(mask), 1, name))
    return classes, records


def _mvtec_mask(
    root: Path, picture: Path, class_name: str, masks: set[str], findings: list[Finding]
) -> Path | None:
    folder = root / "ground_truth" / class_name
    for name in (f"{picture.stem}_mask", picture.stem):
        for suffix in MASK_SUFFIXES:
            if f"{name}{suffix}" in masks:
                return folder / f"{name}{suffix}"
    wanted = folder / f"{picture.stem}_mask.png"
    hint = mask_hint(root, picture)
    advice = hint or f"add {wanted} or move the image to {picture.parent.with_name(GOOD)}"
    message = f"{picture}: no mask for this defective image; {advice}"
    findings.append(Finding("mask-missing", str(picture), message))
    return None


def _read_ksdd2(
    root: Path, split: Split, labelled: bool, findings: list[Finding]
) -> tuple[tuple[str, ...], list[Record]]:
    folder = _split_folder(root, split)
    # Pictures are called by a number alone; copies of masks and the like are not pictures.
    paths = [p for p in pictures_in(folder) if re.fullmatch(r"\d+", p.stem)]
    if not paths:
        advice = deeper_hint(folder) or "call them as 10301.png, and put them there"
        raise VqadError(f"{folder}: no pictures called by a number alone; {advice}")
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(_ksdd2_record, paths))
    findings += [each for each in made if isinstance(each, Finding)]
    records = [each for each in made if isinstance(each, Record)]
    if split == "test":
        return (GOOD, "defect"), records
    good = [record for record in records if record.label == 0]
    if not good and not findings:
        raise VqadError(f"{folder}: no image without a defect; training needs defect-free images")
    if not labelled:
        return (GOOD,), good
    return (GOOD, "defect"), good + [record for record in records if record.label]


def _ksdd2_record(picture: Path) -> Record | Finding:
    mask = picture.with_name(f"{picture.stem}_GT.png")
    if not mask.is_file():
        message = f"{picture}: no mask; add {mask.name} beside it (black for a good image)"
        return Finding("mask-missing", str(picture), message)
    try:
        defective = bool(decode_mask(mask).any())
    except VqadError as error:
        return Finding("unreadable", str(mask), str(error))
    return Record(str(picture), str(mask), int(defective), "defect" if defective else GOOD)


def _split_folder(root: Path, split: Split) -> Path:
    folder = root / split
    if folder.is_dir():
        return folder
    if found := near(root, split):
        raise VqadError(f"{folder}: no such folder; rename {found} to {folder}")
    if split == "test":
        raise NoTestSplit(f"{folder}: no test split, so nothing to judge; expected {LAYOUTS}")
    raise VqadError(f"{folder}: no such folder, so nothing to train with; expected {LAYOUTS}")


def _name_findings(root: Path, records: Sequence[Record]) -> list[Finding]:
    """Masks that belong to two pictures, and names that are one where case does not count."""
    by_mask, by_name = defaultdict(list), defaultdict(list)
    for record in records:
        by_name[record.path.lower()].append(record.path)
        if record.mask_path:
            by_mask[record.mask_path].append(record.path)
    # A labelled training picture shares the folder of masks with the test pictures.
    for folder in subfolders(root / "train") if any(by_mask) else ():
        tested = {p.stem: str(p) for p in pictures_in(root / "test" / folder.name)}
        for paths in by_mask.values():
            first = Path(paths[0])
            if first.parent == folder and first.stem in tested:
                paths.append(tested[first.stem])
    found = [
        Finding(
            "names-collide",
            paths[0],
            f"{paths[0]}: {paths[1]} has the same name, so that {mask} belongs to both; "
            "rename one picture and give it its own mask",
        )
        for mask, paths in by_mask.items()
        if len(paths) > 1
    ]
    return found + [
        Finding(
            "names-case",
            paths[0],
            f"{paths[0]}: {os.path.basename(paths[1])} has the same name but for its case; "
            "rename one",
        )
        for paths in by_name.values()
        if len(paths) > 1
    ]
