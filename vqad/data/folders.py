"""Folders of pictures: which layout one has, what it holds, and what is wrong with its names.

Everything is found by one listing, before any picture is read, and in sorted order.
"""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator

from vqad.data.decode import SUFFIXES, decode_mask, is_picture
from vqad.data.findings import Finding, NoTestSplit
from vqad.data.hints import likely_mask, misplaced
from vqad.data.layouts import GOOD, IN_WORDS, LAYOUTS, MVTEC, Layout, Record, Split, kind_of
from vqad.data.roles import of_defects, role_of
from vqad.data.scan import MASK_TAIL, Scan, masks_beside, scan
from vqad.data.source import Source
from vqad.errors import VqadError, reason

_ANNOTATIONS = (".json", ".xml", ".txt")


class FolderSource(Source):
    """The images of one split of a folder; the layout of the folder is recognised.

    Training takes pictures without a defect; any tree of pictures can be trained on with `tree`,
    but only the two layouts with masks have a test split. What is wrong with single files, and what
    is left out, is among `findings`. `entries` are `Record`s with names as on the disk.
    Arguments and errors are those of `vqad.data.sources.find_source`.
    """

    def __init__(
        self,
        path: str,
        split: Split,
        labelled: bool = False,
        tree: bool = False,
        follow_links: bool = False,
    ) -> None:
        super().__init__(str(path), split)
        found = scan(path, follow_links)
        root, names = found.root, found.names
        self._where = f"{root}/"
        if not tree and (advice := misplaced(found)):
            raise VqadError(f"{root}: layout not recognised; {advice}; expected {IN_WORDS}")
        kind = None if tree else kind_of({*names, *found.folders})
        if kind and f"{split}/" not in found.folders:
            error, use = (VqadError, "train with") if split == "train" else (NoTestSplit, "judge")
            raise error(f"{root / split}: no {split} split, nothing to {use}; expected {IN_WORDS}")
        findings = [*found.findings, *_outside(found, follow_links)]
        wanted = (f"{split}/", *(["ground_truth/"] if labelled or split == "test" else []))
        for error in found.closed:
            needed = f"{os.path.relpath(error.filename, root)}/".startswith(wanted if kind else "")
            check = "folder-unreadable" if needed else "folder-closed"
            findings.append(Finding.of(check, error.filename, reason(error)))
        if kind is None:
            records = [Record(name) for name in found.pictures]
        else:
            records, more = _records(found, LAYOUTS[kind], split, labelled)
            findings += more
        if not records and not any(finding.stops for finding in findings):
            where = root / split if kind else root
            links = [each for each in findings if each.check == "link"]
            more = f"; {links[0].message}" if links else ""
            raise VqadError(f"{where}: no pictures in it ({' '.join(SUFFIXES)}); check it{more}")
        if kind is None and split == "test":
            raise NoTestSplit(f"{root}: no test split, nothing to judge; expected {IN_WORDS}")
        self.layout, self.findings = kind or "pictures", findings
        self.classes = (GOOD, *sorted({record.label for record in records} - {GOOD}))
        if split == "train":
            self.num_labelled = sum(record.label != GOOD for record in records)
        self.entries = [
            r._replace(name=names[r.name], masks=tuple(names[mask] for mask in r.masks))
            for r in records
        ]

    def read(self, index: int) -> tuple[str, tuple[str, ...], int]:
        """The paths of a picture and its masks, and the class id."""
        record = self.entries[index]
        masks = tuple(f"{self._where}{mask}" for mask in record.masks)
        return self.path(index), masks, self.classes.index(record.label)

    def names(self, index: int) -> str:
        """A picture's name in the folder."""
        return self.entries[index].name


def _outside(found: Scan, follow_links: bool) -> Iterator[Finding]:
    """What leads out of the folder, which may come from somebody else."""
    if not follow_links:
        yield from (Finding.of("outside", found.root / name, found.root) for name in found.outside)


def _records(
    found: Scan, layout: Layout, split: Split, labelled: bool
) -> tuple[list[Record], list[Finding]]:
    """The records of a split in a layout with masks, and what is wrong with their names."""
    root, names = found.root, found.names
    damaged: list[Finding] = []

    def is_black(mask: str) -> bool:
        path = str(root / names[mask])
        try:  # of the other split it does not matter
            return not mask.startswith(split) or not decode_mask(path).any()
        except VqadError as error:
            damaged.append(Finding("unreadable", path, str(error)))
            return False

    beside = set(masks_beside(found.pictures)) if layout is MVTEC else set()
    beside = {name for name in beside if not name.startswith("ground_truth/")}
    everything = layout.records(names.keys() - beside, is_black)
    only_good = split == "train" and not labelled
    wanted = [
        r for r in everything if r.split == split and (r.label in (GOOD, "") or not only_good)
    ]
    spare = sorted(names.keys() - {n for r in everything for n in (r.name, *r.masks)})
    bare = [r for r in wanted if r.label != GOOD and not r.masks]
    findings = [
        _no_mask(found, record, layout, list(filter(_may_be_mask, spare))) for record in bare
    ]
    taken = [r for r in wanted if r.label == GOOD or r.masks or (split == "test" and r.label)]
    if split == "train" or layout is MVTEC:
        taken.sort(key=lambda record: (record.label != GOOD, record.label))
    start = f"{split}/{GOOD}/" if only_good and layout is MVTEC else f"{split}/"
    findings += _folders(found, layout, start)
    no_good = split == "train" and all(record.label != GOOD for record in wanted)
    if no_good and not any(finding.stops for finding in findings):
        where = root / split / (GOOD if layout is MVTEC else "")
        what = "no image without a defect, which training needs; put some there"
        findings.append(Finding.of("layout", where, what))
    # A labelled training picture shares the folder of masks with the test pictures.
    masks = {mask for record in taken for mask in record.masks}
    tested = [r for r in everything if r.split == "test" != split and masks.intersection(r.masks)]
    findings += _shared_masks(found, taken + tested)
    return taken, [*sorted(damaged), *findings, *_left_out(found, spare, beside)]


def _may_be_mask(name: str) -> bool:
    *folders, file = name.split("/")
    in_folder = any(role_of(folder) == "ground_truth" for folder in folders)
    return is_picture(name) and (in_folder or bool(MASK_TAIL.search(os.path.splitext(file)[0])))


def _no_mask(found: Scan, record: Record, layout: Layout, spare: Collection[str]) -> Finding:
    """What is said of a defect, or of what may be one, that has no mask."""
    image, wanted = found.root / found.names[record.name], layout.mask_of(record.name)
    if near := likely_mask(record.name, wanted, spare):
        # Saved as another format it is another file.
        advice = f"if {found.root / found.names[near]} is its mask, save it as"
        return Finding.of("mask-missing", image, f"{advice} {found.root / wanted}")
    if not record.label:
        advice = f"add {found.root / wanted}, black if it is good"
        return Finding.of("mask-missing", image, advice)
    check = "no-mask" if record.split == "test" else "no-label"
    return Finding.of(check, image, found.root / wanted)


def _shared_masks(found: Scan, records: Collection[Record]) -> Iterator[Finding]:
    by_mask = defaultdict(list)
    for record in records:
        for mask in record.masks[:1]:
            by_mask[mask].append(found.root / found.names[record.name])
    for first, *others in by_mask.values():
        if others:
            yield Finding.of("names-collide", first, others[0])


def _folders(found: Scan, layout: Layout, start: str) -> Iterator[Finding]:
    """Folders for pictures that hold none, and folders of defects below good parts."""
    levels = 2 if layout is MVTEC else 1
    linked = {finding.path for finding in found.findings if finding.check == "link"}
    pictures = found.pictures
    for folder in sorted(found.folders):
        if not folder.startswith(start) or str(found.root / folder) in linked:
            continue
        empty = not any(name.startswith(folder) for name in pictures)
        if folder.count("/") == levels and empty:
            yield Finding.of("class-empty", found.root / folder)
    of_good = f"{start.partition('/')[0]}/{GOOD}/"
    below = {os.path.dirname(name) for name in pictures if name.startswith(of_good)}
    inner = {parent: parent.split("/")[2:] for parent in below}
    odd = set(of_defects({part for parts in inner.values() for part in parts}))
    for parent in sorted(p for p, parts in inner.items() if odd.intersection(parts)):
        yield Finding.of("class-odd", found.root / parent, "a folder of defects, or of masks")


def _left_out(found: Scan, spare: Collection[str], beside: Collection[str]) -> Iterator[Finding]:
    """Files that belong to no picture: other masks, pictures and what is said of pictures."""
    stems = {os.path.splitext(name)[0] for name in found.pictures}
    for name in spare:
        if name in beside:
            check = "mask-beside"
        elif name.endswith(_ANNOTATIONS) and os.path.splitext(name)[0] in stems:
            check = "annotation"
        elif is_picture(name):
            check = "unused"
        else:
            continue
        yield Finding.of(check, found.root / found.names[name])
