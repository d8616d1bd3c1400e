"""Writes a sound copy of a folder, in a layout that training reads; the folder stays as it is."""

import os
import shutil
from pathlib import Path

from vqad.data.arrange import arranged
from vqad.data.decode import decode_image, read_mask
from vqad.data.findings import Finding, left_out
from vqad.data.folders import FolderSource
from vqad.data.numbers import ValueRange
from vqad.data.scan import Scan, scan
from vqad.errors import VqadError, reason
from vqad.paths import check_local


def write_copy(
    source: str, out: str, follow_links: bool = False, value_range: ValueRange | None = None
) -> list[Finding]:
    """Writes what can be read of a folder to another, which is new or empty.

    Pictures and masks keep their names if the folder has a layout; else they are called as
    `vqad.data.arrange.arranged` says. Files are linked where the disk allows that (hard links), and
    copied elsewhere. Returns what was left out: what has no place there, or cannot be read.

    Raises:
      VqadError: it cannot be told which pictures show good parts, or `out` cannot be written.
    """
    for path in (source, out):
        check_local(path)
    found = scan(source, follow_links)
    target = Path(out).expanduser()
    if os.path.realpath(target).startswith(os.path.join(os.path.realpath(found.root), "")):
        raise VqadError(f"--fix={out}: lies in {source}; give a folder elsewhere")
    moves = _moves(found, source, follow_links)
    outside = set() if follow_links else set(found.outside)
    homeless = [name for name in found.pictures if name not in moves]
    left = [
        *found.findings,
        *(Finding.of("not-copied", found.root / found.names[name]) for name in homeless),
    ]
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise VqadError(f"--fix={out}: exists and is not an empty folder; give a new one")
        for old, new in moves.items():
            path = found.root / found.names[old]
            if found.names[old] in outside:
                what = f"{path}: a link that leads out of {found.root}; --follow-links copies it"
                left.append(Finding("broken", str(path), what))
                continue
            path = os.path.realpath(path)
            try:
                if new.startswith("ground_truth/"):
                    read_mask(path)
                else:
                    decode_image(path, value_range=value_range)
            except VqadError as error:
                left.append(Finding("broken", path, str(error)))
                continue
            (target / new).parent.mkdir(parents=True, exist_ok=True)
            _link(path, target / new)
    except OSError as error:
        why = f"cannot be written ({reason(error)}); free disk space or permissions"
        raise VqadError(f"--fix={error.filename or out}: {why}") from error
    return left


def _moves(found: Scan, source: str, follow_links: bool) -> dict[str, str]:
    moves = {}
    for split in ("train", "test"):
        try:
            split_of = FolderSource(source, split, labelled=True, follow_links=follow_links)
        except VqadError:
            continue
        if split_of.layout == "pictures":
            break
        wanted = {name for record in split_of.entries for name in (record.name, *record.masks)}
        moves |= {key: key for key, name in found.names.items() if name in wanted}
    meant = arranged(found.pictures) or {}
    if moves:  # what has a layout keeps its names; of the rest, masks that are called otherwise
        new = {old for old in meant.keys() - moves.keys() if meant[old] not in moves}
        moves |= {old: meant[old] for old in new if meant[old].startswith("ground_truth/")}
    elif not (moves := meant):
        what = "cannot tell which pictures show good parts"
        advice = "; ".join(
            ["put those in a folder called good, others beside it", *left_out(found.findings)]
        )
        raise VqadError(f"{source}: {what}; {advice}")
    return moves


def _link(path: str, new: Path) -> None:
    try:
        os.link(path, new)
    except OSError:  # on another disk, or one without links
        shutil.copy2(path, new)
