"""Folders of pictures: which layout one has, what it holds, and what is wrong with its names.

Everything is found by one listing, before any picture is read, and in sorted order.
"""

import os
from collections.abc import Iterator

from vqad.data.findings import Finding, NoTestSplit, left_out
from vqad.data.formats import SUFFIXES
from vqad.data.hints import misplaced
from vqad.data.layouts import GOOD, IN_WORDS, LAYOUTS, Record, Split, kind_of
from vqad.data.records import annotations, records_of
from vqad.data.scan import Scan, scan
from vqad.data.source import Source
from vqad.errors import VqadError, reason


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
            findings += annotations(found)
        else:
            records, more = records_of(found, LAYOUTS[kind], split, labelled)
            findings += more
        if not records and not any(finding.stops for finding in findings):
            where = root / split if kind else root
            more = "; ".join(["", *left_out(findings)])
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
