"""The pictures and masks of a split in a layout with masks, and what is wrong with their names."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator

from vqad.data.decode import decode_mask
from vqad.data.findings import Finding
from vqad.data.formats import is_picture
from vqad.data.hints import likely_mask
from vqad.data.layouts import GOOD, MVTEC, Layout, Record, Split
from vqad.data.roles import is_of_masks, of_defects
from vqad.data.scan import MASK_TAIL, Scan, masks_beside
from vqad.errors import VqadError

_ANNOTATIONS = (".json", ".xml", ".txt")


def records_of(
    found: Scan, layout: Layout, split: Split, labelled: bool
) -> tuple[list[Record], list[Finding]]:
    """The records of a split, with composed names, and findings; good ones alone to train with.

    With `labelled`, defects to train with, which need masks, come after those.
    """
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
    if layout is not MVTEC:  # what is no number may be anything, unless it has a mask of its own
        everything = [r for r in everything if r.masks or _is_number(r.name)]
    only_good = split == "train" and not labelled
    wanted = [
        r for r in everything if r.split == split and (r.label in (GOOD, "") or not only_good)
    ]
    spare = sorted(names.keys() - {n for r in everything for n in (r.name, *r.masks)})
    near = list(filter(_may_be_mask, spare))
    bare = [r for r in wanted if r.label != GOOD and not r.masks]
    findings = [*sorted(damaged), *(_no_mask(found, record, layout, near) for record in bare)]
    taken = [r for r in wanted if r.label == GOOD or r.masks or (split == "test" and r.label)]
    if split == "train" or layout is MVTEC:
        taken.sort(key=lambda record: (record.label != GOOD, record.label))
    start = f"{split}/{GOOD}/" if only_good and layout is MVTEC else f"{split}/"
    findings += _empty_folders(found, start, 2 if layout is MVTEC else 1)
    if layout is MVTEC:
        findings += _odd_folders(found, taken)
    no_good = split == "train" and all(record.label != GOOD for record in wanted)
    if no_good and not any(finding.stops for finding in findings):
        where = root / split / (GOOD if layout is MVTEC else "")
        places = (str(root / split), str(where))
        linked = any(each.check == "link" and each.path in places for each in found.findings)
        advice = "--follow-links reads what is linked there" if linked else "put some there"
        what = f"no image without a defect, which training needs; {advice}"
        findings.append(Finding.of("layout", where, what))
    # A labelled training picture shares the folder of masks with the test pictures.
    masks = {mask for record in taken for mask in record.masks}
    tested = [r for r in everything if r.split == "test" != split and masks.intersection(r.masks)]
    findings += _shared_masks(found, taken + tested)
    if only_good:
        defects = (r for r in everything if r.split == "train" and r.label not in (GOOD, ""))
        findings += [Finding.of("no-share", root / names[r.name]) for r in defects]
    unused = ((name, "mask-beside" if name in beside else "unused") for name in spare)
    findings += [Finding.of(c, root / names[n]) for n, c in unused if is_picture(n)]
    return taken, [*findings, *annotations(found)]


def annotations(found: Scan) -> Iterator[Finding]:
    """Files that say something of a picture beside them, as labelling programs write them."""
    stems = set(map(_stem, found.pictures))
    for name in found.names:
        if name.endswith(_ANNOTATIONS) and _stem(name) in stems:
            yield Finding.of("annotation", found.root / found.names[name])


def _is_number(name: str) -> bool:
    return os.path.basename(_stem(name)).isdigit()


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _may_be_mask(name: str) -> bool:
    in_folder = any(map(is_of_masks, name.split("/")[:-1]))
    return is_picture(name) and (in_folder or bool(MASK_TAIL.search(_stem(name))))


def _no_mask(found: Scan, record: Record, layout: Layout, spare: Collection[str]) -> Finding:
    """What is said of a defect, or of what may be one, that has no mask."""
    image, wanted = found.root / found.names[record.name], layout.mask_of(record.name)
    if near := likely_mask(record.name, wanted, spare):
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


def _empty_folders(found: Scan, start: str, levels: int) -> Iterator[Finding]:
    """Folders for pictures that hold none, and are no links that were not followed."""
    filled = {"/".join(name.split("/")[:levels]) for name in found.pictures}
    linked = {finding.path for finding in found.findings if finding.check == "link"}
    for folder in sorted(found.folders):
        path = folder.rstrip("/")
        is_class = folder.startswith(start) and folder.count("/") == levels
        if is_class and path not in filled and str(found.root / path) not in linked:
            yield Finding.of("class-empty", found.root / path)


def _odd_folders(found: Scan, records: Collection[Record]) -> Iterator[Finding]:
    """Folders below a class that hold something else by their names: masks, or defects in good."""
    inner = defaultdict(dict)  # by class, paths of the folders below it by their name
    for record in records:
        parts = record.name.split("/")[:-1]
        inner[parts[1]].update({parts[i]: "/".join(parts[: i + 1]) for i in range(2, len(parts))})
    for label, paths in inner.items():
        odd = of_defects(paths) if label == GOOD else list(filter(is_of_masks, paths))
        for name in sorted(odd):
            place = f"ground_truth/{label}" if is_of_masks(name) else f"test/{name}"
            if f"{place}/" in found.folders:
                place += ", where files of the same name need another first"
            yield Finding.of("class-odd", found.root / paths[name], label, place)
