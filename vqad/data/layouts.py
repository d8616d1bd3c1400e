"""Folders of pictures: which layout a folder has, what it holds, and what is wrong with it.

Everything is found before any training starts, in sorted order.
"""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

from vqad.data.decode import decode_image, decode_mask, picture_size
from vqad.errors import VqadError

Split = Literal["train", "test"]

GOOD = "good"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
DECODE_AT_MOST = 5000
"""Folders with more pictures than this have only their headers checked: decoding takes minutes."""

LAYOUTS = (
    "MVTec layout (train/good, test/good, test/<defect>, ground_truth/<defect>/<name>_mask.png)"
    " or KSDD2 layout (train/<number>.png with train/<number>_GT.png, and the same in test)"
)


class Record(NamedTuple):
    """One picture: its path, its mask's path (None: no defect), label 0 or 1, and its class."""

    path: str
    mask_path: str | None
    label: int
    class_name: str


class Layout(NamedTuple):
    """What a folder holds: its kind, its classes ('good' first) and its records in order."""

    kind: Literal["pictures", "mvtec", "ksdd2"]
    classes: tuple[str, ...]
    records: tuple[Record, ...]


def read_folder(path: str | os.PathLike, split: Split, labelled: bool = False) -> Layout:
    """Recognises the layout of a folder, lists one split of it and checks every file.

    Training takes pictures without a defect; any tree of pictures can be trained on, but only the
    two layouts with masks have a test split. All files are decoded where there are few enough
    (`DECODE_AT_MOST`), else their headers are read.

    Args:
      path: The folder.
      split: 'train' or 'test'.
      labelled: Whether to list the defective training pictures with masks as well, after the good
        ones.

    Raises:
      VqadError: The folder is missing, empty, not to be read or in no known layout; the split is
        missing or lacks good or defective pictures; a mask is missing or of another size than its
        picture; a picture or a mask cannot be read.
    """
    try:
        return _read_folder(Path(path), split, labelled)
    except OSError as error:
        reason = error.strerror or error
        raise VqadError(
            f"{error.filename or path}: cannot be read ({reason}); check it and its permissions"
        ) from error


def _read_folder(root: Path, split: Split, labelled: bool) -> Layout:
    if not root.exists():
        raise VqadError(f"{root}: no such folder; give the path of a folder of pictures")
    if not root.is_dir():
        raise VqadError(f"{root}: a file, not a folder; give the folder that the pictures are in")
    if any((root / part).is_dir() for part in ("train/good", "test/good", "ground_truth")):
        layout = _read_mvtec(root, split, labelled)
    elif any(_has_ksdd2_mask(root / part) for part in ("train", "test")):
        layout = _read_ksdd2(root, split, labelled)
    elif split == "train":
        records = tuple(Record(p, None, 0, GOOD) for p in sorted(_pictures_below(root)))
        layout = Layout("pictures", (GOOD,), records)
    elif next(_pictures_below(root), None) is None:
        layout = Layout("pictures", (GOOD,), ())
    else:
        raise VqadError(f"{root}: layout not recognised, so nothing to test on; expected {LAYOUTS}")
    if not layout.records:
        raise VqadError(f"{root}: no pictures in it ({' '.join(SUFFIXES)}); check the path")
    if split == "test":
        _check_both_labels(root, layout.records)
    _check_files(layout.records)
    return layout


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _pictures_below(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root, followlinks=True):
        yield from (os.path.join(folder, name) for name in names if _is_picture(name))


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if _is_picture(p.name) and p.is_file())


def _read_mvtec(root: Path, split: Split, labelled: bool) -> Layout:
    folder = root / split
    if split == "train" and not ((folder / GOOD).is_dir() and _pictures_in(folder / GOOD)):
        raise VqadError(
            f"{folder / GOOD}: no pictures; put the defect-free training pictures there"
        )
    if split == "test":
        _require_test(folder)
    names = {p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
    if split == "train" and not labelled:
        names = {GOOD}
    classes = (GOOD, *sorted(names - {GOOD}))
    records = [
        Record(str(p), None, 0, GOOD) if name == GOOD else _mvtec_defect(root, p, name)
        for name in classes
        if name in names
        for p in _pictures_in(folder / name)
    ]
    if labelled:
        _check_masks_have_one_picture(root, records)
    return Layout("mvtec", classes, tuple(records))


def _mvtec_defect(root: Path, picture: Path, class_name: str) -> Record:
    folder = root / "ground_truth" / class_name
    for mask in (folder / f"{picture.stem}_mask.png", folder / f"{picture.stem}.png"):
        if mask.is_file():
            return Record(str(picture), str(mask), 1, class_name)
    raise VqadError(
        f"{picture}: no mask for this defective image; "
        f"add {folder / (picture.stem + '_mask.png')} or move the image to test/good"
    )


def _check_masks_have_one_picture(root: Path, records: Sequence[Record]) -> None:
    """A labelled training picture shares the folder of masks with the test pictures."""
    for record in records:
        twin = root / "test" / record.class_name / Path(record.path).name
        if record.label and twin.is_file():
            raise VqadError(
                f"{record.path}: {twin} has the same name, so that {record.mask_path} belongs to "
                "both; rename one picture and give it its own mask"
            )


def _has_ksdd2_mask(folder: Path) -> bool:
    return folder.is_dir() and any(p.name.endswith("_GT.png") for p in folder.iterdir())


def _read_ksdd2(root: Path, split: Split, labelled: bool) -> Layout:
    folder = root / split
    if split == "test":
        _require_test(folder)
    # Pictures are called by a number alone; copies of masks and the like are not pictures.
    paths = [p for p in _pictures_in(folder) if re.fullmatch(r"\d+", p.stem)]
    with ThreadPoolExecutor() as pool:
        records = tuple(pool.map(_ksdd2_record, paths))
    if split == "test":
        return Layout("ksdd2", (GOOD, "defect"), records)
    good = tuple(record for record in records if record.label == 0)
    if not good:
        raise VqadError(f"{folder}: no image without a defect; training needs defect-free images")
    if not labelled:
        return Layout("ksdd2", (GOOD,), good)
    defective = tuple(record for record in records if record.label)
    return Layout("ksdd2", (GOOD, "defect"), good + defective)


def _ksdd2_record(picture: Path) -> Record:
    mask = picture.with_name(f"{picture.stem}_GT.png")
    if not mask.is_file():
        raise VqadError(f"{picture}: no mask; add {mask.name} beside it (black for a good image)")
    defective = bool(decode_mask(mask).any())
    return Record(str(picture), str(mask), int(defective), "defect" if defective else GOOD)


def _require_test(folder: Path) -> None:
    if not folder.is_dir():
        raise VqadError(f"{folder}: no test split, so nothing to judge; expected {LAYOUTS}")


def _check_both_labels(root: Path, records: Sequence[Record]) -> None:
    for label, kind in ((0, "good"), (1, "defective")):
        if all(record.label != label for record in records):
            raise VqadError(
                f"{root / 'test'}: no {kind} image; judging needs good and defective ones, add some"
            )


def _check_files(records: Sequence[Record]) -> None:
    few = len(records) <= DECODE_AT_MOST

    def check(record: Record) -> None:
        size = decode_image(record.path).shape[:2] if few else picture_size(record.path)
        if record.mask_path is None:
            return
        mask_size = decode_mask(record.mask_path).shape if few else picture_size(record.mask_path)
        if mask_size != size:
            raise VqadError(
                f"{record.mask_path}: mask of {mask_size[1]} x {mask_size[0]} for an image of "
                f"{size[1]} x {size[0]} (width x height); make the mask the size of its image"
            )

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(check, records):
            pass
