"""What can be wrong with images and masks, and what training does about it."""

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from vqad.errors import VqadError, printable

logger = logging.getLogger(__name__)
_STOPS = "does not start"


class NoTestSplit(VqadError):
    """There are images to train with, but none to judge with."""


class Check(NamedTuple):
    """Something that may be wrong: what is said of a file, and what training does then."""

    words: str = "{}"
    training: str = _STOPS


CHECKS = {
    "layout": Check(),
    "too-deep": Check("no pictures in it; move the pictures of {} up into it"),
    "outside": Check("a link that leads out of {}; put the file itself there"),
    "unreadable": Check(),
    "folder-unreadable": Check("cannot be read ({}); check it and its permissions"),
    "mask-missing": Check("no mask for this image; {}"),
    "mask-size": Check(),
    "names-collide": Check("{} has the same name and mask; rename one and give it its own mask"),
    "labelled-empty": Check("an empty mask of a labelled defect; draw it or take the image away"),
    "mask-empty": Check("an empty mask of a defect; draw it", "judges the image, no pixel of it"),
    "mask-large": Check("marks nearly the whole image; is it inverted?", "takes it as it is"),
    "mask-values": Check(
        "has {} values beside 0 ({} to {}); give it one", "takes all but 0 as one"
    ),
    "leak": Check("byte for byte the training image {}; remove one", "gives figures too good"),
    "constant": Check(
        "shows next to nothing, all nearly one colour; check it", "takes it as it is"
    ),
    "dark": Check("no value above a quarter of its 16 bits; scale it", "takes it as nearly black"),
    "folder-closed": Check("cannot be read ({}), nor is it of this split", "leaves it out"),
    "class-empty": Check("no pictures in it (nor links followed); fill it", "leaves it out"),
    "deeper": Check("more lie deeper; move the pictures of {} up into it", "leaves them out"),
    "unused": Check("belongs to no image of this layout", "leaves it out"),
    "no-test": Check(training="trains, and does not judge"),
}


class Finding(NamedTuple):
    """Something wrong: which of `CHECKS`, the file or folder, and a line that names it."""

    check: str
    path: str
    message: str

    @classmethod
    def of(cls, check: str, path: object, *about: Any) -> "Finding":
        """What is wrong with a file or folder, and what to do, in the words of the check."""
        return cls(check, str(path), f"{path}: {CHECKS[check].words.format(*about)}")

    @property
    def stops(self) -> bool:
        """Whether training does not start because of it."""
        return CHECKS[self.check].training == _STOPS


def act_on(findings: Iterable[Finding], name: str) -> None:
    """Raises a VqadError for what stops training by a source, NoTestSplit if there is no judging.

    A line is logged for each kind of the rest.
    """
    findings = list(findings)
    if stopping := [finding for finding in findings if finding.stops]:
        more = len(stopping) - 1
        also = f" (and {more} more: `vqad doctor {name}` lists them)" if more else ""
        raise VqadError(printable(stopping[0].message) + also)
    for check, group in grouped(findings):
        if check == "no-test":  # the last one
            raise NoTestSplit(group[0].message)
        example, does = printable(group[0].message), CHECKS[check].training
        logger.warning("warning: %s: %d: %s; %s", check, len(group), example, does)


def grouped(findings: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    """Findings by their check, in the order of `CHECKS`."""
    found = list(findings)
    groups = [(check, [each for each in found if each.check == check]) for check in CHECKS]
    return [(check, group) for check, group in groups if group]
