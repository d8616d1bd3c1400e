"""One listing of a folder: the files in it, and what looks like a picture and is not read."""

import contextlib
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from etils.epath import Path

from vqad.data.findings import Finding
from vqad.data.formats import FORMATS, SUFFIXES, is_picture
from vqad.errors import VqadError, reason
from vqad.paths import entries, is_link, is_remote

# What cameras, phones, raw converters and drawing programs write beside the formats that are read.
_OTHERS = (
    "gif heic heif avif jxl jpx jpe jfif pgm ppm pbm pnm pfm tga exr hdr dng raw cr2 cr3 "
    "nef arw orf rw2 raf psd xcf dds ico dcm npy svg"
)
OTHER_SUFFIXES = tuple({f".{ending}" for ending in _OTHERS.split()}.difference(SUFFIXES))
_BEGINNINGS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"II*\0": "tif", b"MM\0*": "tif"}
# Thumbnails and trash of network drives, Windows and Macs; what they and others hide has a dot.
_OF_THE_SYSTEM = {"@eadir", "__macosx", "#recycle", "$recycle.bin", "system volume information"}
MASK_TAIL = re.compile(r"(?i)[ _.-](gt|masks?|labels?|seg|truth)([ _.-]*\(?\d+\)?)?$")


class Scan(NamedTuple):
    """What lies in a folder.

    Names are relative, with slashes, and sorted; keys have their letters composed (é as one, not as
    e and an accent), so that those of a Mac and of others are the same.
    """

    root: Path
    names: dict[str, str]  # of files: as they are on the disk, by the composed form
    folders: frozenset[str]  # composed, with a slash at the end; links to folders too
    findings: list[Finding]  # what looks like a picture, or leads to some, and is not read
    outside: list[str]  # links that lead out of the folder, on the disk
    closed: list[OSError]  # of folders in it that cannot be read

    @property
    def pictures(self) -> list[str]:
        """The names of pictures, composed."""
        return [name for name in self.names if is_picture(name)]


def composed(name: str) -> str:
    """A name with its letters composed."""
    return unicodedata.normalize("NFC", name)


def scan(path: str | os.PathLike, follow_links: bool = False) -> Scan:
    """Lists a folder of this machine or of a bucket, with all folders in it; reads no picture.

    Of linked folders none is entered, unless `follow_links` says so: then each once.

    Raises:
      VqadError: it is not there, no folder, or cannot be read.
    """
    root = Path(path).expanduser()
    try:
        if not root.exists():
            raise VqadError(f"{root}: no such folder; give the path of a folder of pictures")
        if not root.is_dir():
            raise VqadError(f"{root}: a file, not a folder; give the folder with the pictures")
        return _Scanner(root, follow_links).scan()
    except OSError as error:
        why = f"cannot be read ({reason(error)}); check it and its permissions"
        raise VqadError(f"{error.filename or root}: {why}") from error


class _Scanner:
    def __init__(self, root: Path, follow_links: bool) -> None:
        self.root, self.follow_links = root, follow_links
        self.real = "" if is_remote(root) else os.path.realpath(root)
        self.entered = {self.real}  # folders that links led to
        self.findings: list[Finding] = []
        self.outside: list[str] = []
        self.closed: list[OSError] = []
        self.folders: list[str] = []

    def scan(self) -> Scan:
        names: dict[str, str] = {}
        # Where two names differ in form alone, the composed one comes first and keeps its key.
        for name in sorted(self._files(), key=lambda name: (name != composed(name), name)):
            key = composed(name)
            names[name if key in names else key] = name
        names = dict(sorted(names.items()))
        folders = frozenset(map(composed, self.folders))
        return Scan(self.root, names, folders, self.findings, self.outside, self.closed)

    def _files(self) -> Iterator[str]:
        """The files in all folders; of those set aside, only what looks like pictures is told."""
        waiting = [("", False)]  # folders, and whether they are set aside
        while waiting:
            prefix, aside = waiting.pop()
            try:
                folder, inner, names = entries(self.root / prefix)
            except OSError as error:
                if not prefix:
                    raise
                if not aside:
                    self.closed.append(error)
                continue
            for name in names:
                if aside or name.startswith("."):
                    if name.lower().endswith(SUFFIXES):
                        self._tell("hidden", prefix + name)
                elif self._is_read(folder / name, prefix + name):
                    yield prefix + name
            within = []
            for name in inner:
                path = f"{prefix}{name}/"
                hidden = aside or name.startswith(".") or name.lower() in _OF_THE_SYSTEM
                if not hidden:
                    self.folders.append(path)
                if not self._is_link(folder / name) or (not hidden and self._enters(path)):
                    within.append((path, hidden))
            waiting += reversed(within)

    def _is_read(self, file: Path, name: str) -> bool:
        """Whether a file is among the names; tells what is not."""
        if is_picture(name):
            if self._leads_out(file):
                self.outside.append(name)
        elif self._leads_nowhere(file):
            self._tell("link-broken", name, os.readlink(file))
            return False
        elif name.lower().endswith(OTHER_SUFFIXES):
            self._tell("format", name, " ".join(FORMATS))
        elif self.real and "." not in file.name and (kind := _begins_as(file)):
            taken = os.path.lexists(f"{file}.{kind}")
            self._tell("no-suffix", name, f"{kind}, under another name" if taken else kind)
        return True

    def _is_link(self, path: os.PathLike) -> bool:
        return bool(self.real) and is_link(path)

    def _leads_out(self, path: os.PathLike) -> bool:
        """Whether it is a link to something outside of the folder."""
        if not self._is_link(path):
            return False
        return os.path.commonpath((self.real, os.path.realpath(path))) != self.real

    def _leads_nowhere(self, path: os.PathLike) -> bool:
        return self._is_link(path) and not os.path.exists(path)

    def _enters(self, path: str) -> bool:
        """Whether a linked folder is to be entered; if not, that is told."""
        link = self.root / path.rstrip("/")
        target = os.path.realpath(link)
        if not self.follow_links:
            if self._leads_out(link):
                self.outside.append(path.rstrip("/"))
            self._tell("link", path.rstrip("/"))
            return False
        here = os.path.realpath(os.path.dirname(link))
        if target in self.entered or os.path.commonpath((here, target)) == target:
            self._tell("link-again", path.rstrip("/"), target)
            return False
        self.entered.add(target)
        return True

    def _tell(self, check: str, name: str, *about: str) -> None:
        self.findings.append(Finding.of(check, self.root / name, *about))


def fingerprint(path: str, follow_links: bool) -> str | None:
    """Tells the pictures to train on from others, by names and sizes; None if there are none.

    These are all in `train`, or all where there is no such folder. Of a bucket, names alone.
    """
    try:
        found = scan(path, follow_links)
    except VqadError:
        return None
    of_train = [name for name in found.pictures if name.startswith("train/")]
    lines = []
    for name in of_train or found.pictures:
        file = found.root / found.names[name]
        with contextlib.suppress(OSError):  # a broken link, which is told elsewhere
            lines.append(f"{name} {0 if is_remote(file) else os.stat(file).st_size}")
    text = "\n".join(sorted(lines)).encode(errors="surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16] if lines else None


def _begins_as(file: Path) -> str | None:
    """The suffix that fits the first bytes of a file, if those are of a picture."""
    with contextlib.suppress(OSError):
        if os.path.isfile(file):  # on a pipe a reader would wait
            with open(file, "rb") as opened:
                start = opened.read(4)
            return next(
                (kind for magic, kind in _BEGINNINGS.items() if start.startswith(magic)), None
            )
    return None


def masks_beside(names: Iterator[str] | list[str]) -> list[str]:
    """Pictures that are called as the mask of one beside them: `a_GT.png` where there is `a.png`.

    `names` are of all pictures.
    """
    stems = {os.path.splitext(name)[0] for name in names}
    tails = ((name, MASK_TAIL.sub("", os.path.splitext(name)[0])) for name in names)
    return [n for n, stem in tails if stem in stems and stem != os.path.splitext(n)[0]]
