"""Folders of pictures: which layout one has, what it holds, and what is wrong with its names.

Everything is found by one listing, before any picture is read, and in sorted order.
"""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator

from etils.epath import Path

from vqad.data.decode import SUFFIXES, decode_mask, is_picture
from vqad.data.findings import Finding, NoTestSplit
from vqad.data.hints import likely_mask, misplaced
from vqad.data.layouts import GOOD, IN_WORDS, LAYOUTS, MVTEC, Layout, Record, Split, kind_of
from vqad.data.source import Source
from vqad.errors import VqadError, reason
from vqad.paths import links_out_of, names_below


class FolderSource(Source):
    """The images of one split of a folder; the layout of the folder is recognised.

    Training takes pictures without a defect; any tree of pictures can be trained on, but only the
    two layouts with masks have a test split. What is wrong with single files is among `findings`,
    and a defective picture whose mask is missing not among `entries`, which are `Record`s.
    Arguments and errors are those of `vqad.data.sources.find_source`.
    """

    def __init__(self, path: str, split: Split, labelled: bool = False, tree: bool = False) -> None:
        super().__init__(str(path), split)
        root = Path(path).expanduser()
        self._where = f"{root}/"
        closed: list[OSError] = []
        names = _listed(root, closed)
        if not tree and (advice := misplaced(root, names)):
            raise VqadError(f"{root}: layout not recognised; {advice}; expected {IN_WORDS}")
        kind = kind_of(names)
        if kind and f"{split}/" not in names:
            error, use = (VqadError, "train with") if split == "train" else (NoTestSplit, "judge")
            raise error(f"{root / split}: no {split} split, nothing to {use}; expected {IN_WORDS}")
        findings = [
            Finding.of("outside", p, root)
            for p in links_out_of(root, hidden=False)
            if is_picture(p) or os.path.isdir(p)
        ]
        wanted = (f"{split}/", *(["ground_truth/"] if labelled or split == "test" else []))
        for error in closed:
            needed = f"{os.path.relpath(error.filename, root)}/".startswith(wanted if kind else "")
            check = "folder-unreadable" if needed else "folder-closed"
            findings.append(Finding.of(check, error.filename, reason(error)))
        if kind is None:
            records = [Record(name) for name in sorted(filter(is_picture, names))]
        else:
            records, more = _records(root, names, LAYOUTS[kind], split, labelled)
            findings += more
        if not records and not any(finding.stops for finding in findings):
            where = root / split if kind else root
            raise VqadError(f"{where}: no pictures in it ({' '.join(SUFFIXES)}); check the path")
        if kind is None and split == "test":
            raise NoTestSplit(f"{root}: no test split, nothing to judge; expected {IN_WORDS}")
        self.layout, self.entries, self.findings = kind or "pictures", records, findings
        self.classes = (GOOD, *sorted({record.label for record in records} - {GOOD}))
        if split == "train":
            self.num_labelled = sum(record.label != GOOD for record in records)
        used = {name for record in records for name in (record.name, record.mask)}
        unread = (name for name in names if name[-1] != "/" and name not in used)
        self.unread = frozenset(str(root / name) for name in unread)

    def read(self, index: int) -> tuple[str, str | None, int]:
        """The paths of a picture and its mask, and the class id."""
        record = self.entries[index]
        mask = f"{self._where}{record.mask}" if record.mask else None
        return self.path(index), mask, self.classes.index(record.label)

    def names(self, index: int) -> str:
        """A picture's name in the folder."""
        return self.entries[index].name


def _listed(root: Path, closed: list[OSError]) -> list[str]:
    try:
        if not root.exists():
            raise VqadError(f"{root}: no such folder; give the path of a folder of pictures")
        if not root.is_dir():
            raise VqadError(f"{root}: a file, not a folder; give the folder with the pictures")
        return list(names_below(root, hidden=False, folders=True, unreadable=closed))
    except OSError as error:
        why = f"cannot be read ({reason(error)}); check it and its permissions"
        raise VqadError(f"{error.filename or root}: {why}") from error


def _records(
    root: Path, names: Collection[str], layout: Layout, split: Split, labelled: bool
) -> tuple[list[Record], list[Finding]]:
    """The records of a split in a layout with masks, and what is wrong with their names."""

    def is_black(mask: str) -> bool:
        try:  # of the other split it does not matter
            return not mask.startswith(split) or not decode_mask(str(root / mask)).any()
        except VqadError:  # is found when pictures and masks are looked at
            return False

    everything = layout.records(names, is_black)
    only_good = split == "train" and not labelled
    wanted = [
        r for r in everything if r.split == split and (r.label in (GOOD, "") or not only_good)
    ]
    found = [record for record in wanted if record.label == GOOD or record.mask]
    if split == "train" or layout is MVTEC:
        found.sort(key=lambda record: (record.label != GOOD, record.label))
    start = f"{split}/{GOOD}/" if only_good and layout is MVTEC else f"{split}/"
    findings = list(_depth(root, names, layout, start))
    no_good = split == "train" and all(record.label != GOOD for record in wanted)
    if no_good and not any(finding.stops for finding in findings):
        where = root / split / (GOOD if layout is MVTEC else "")
        what = "no image without a defect, which training needs; put some there"
        findings.append(Finding.of("layout", where, what))
    if bare := [record for record in wanted if record.label != GOOD and record.mask is None]:
        spare = set(names).difference(*((r.name, r.mask) for r in everything))
        findings += [_no_mask(root, record.name, layout, sorted(spare)) for record in bare]
    # A labelled training picture shares the folder of masks with the test pictures.
    masks = {record.mask for record in found}
    tested = [r for r in everything if r.split == "test" != split and r.mask in masks]
    return found, [*findings, *_shared_masks(root, found + tested)]


def _no_mask(root: Path, name: str, layout: Layout, spare: Collection[str]) -> Finding:
    wanted = layout.mask_of(name)
    good = "or move the image to the good ones" if layout is MVTEC else "black if it is good"
    advice = f"add {root / wanted}, {good}"
    if near := likely_mask(name, wanted, spare):
        advice = f"if {root / near} is its mask, save it as {root / wanted}"
    return Finding.of("mask-missing", root / name, advice)


def _shared_masks(root: Path, records: Collection[Record]) -> Iterator[Finding]:
    by_mask = defaultdict(list)
    for record in records:
        if record.mask:
            by_mask[record.mask].append(root / record.name)
    for first, *others in by_mask.values():
        if others:
            yield Finding.of("names-collide", first, others[0])


def _depth(root: Path, names: Collection[str], layout: Layout, start: str) -> Iterator[Finding]:
    """Of folders for pictures, those that hold none, or pictures in folders of their own."""
    levels = 2 if layout is MVTEC else 1
    for folder in names:
        if folder[-1] == "/" and folder.count("/") == levels and folder.startswith(start):
            inside = [n for n in names if n.startswith(folder) and is_picture(n)]
            deeper = [n for n in inside if n.count("/") > levels]
            if deeper:
                check = "deeper" if len(deeper) < len(inside) else "too-deep"
                yield Finding.of(check, root / folder, root / os.path.dirname(deeper[0]))
            elif not inside:
                yield Finding.of("class-empty", root / folder)
