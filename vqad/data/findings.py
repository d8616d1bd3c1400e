"""What can be wrong with images and masks, and what training does about it."""

import logging
import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from vqad.errors import VqadError, printable

logger = logging.getLogger(__name__)
_NAMED = 5
_STOPS, _LEFT = "does not start", "leaves it out"


class NoTestSplit(VqadError):
    """There are images to train with, but none to judge with."""


class Check(NamedTuple):
    """Something that may be wrong: what is said of a file, and what training does then."""

    words: str = "{}"
    training: str = _STOPS


CHECKS = {
    "layout": Check(),
    "outside": Check("a link that leads out of {}; --follow-links reads it, if you trust it"),
    "unreadable": Check(),
    "folder-unreadable": Check("cannot be read ({}); check it and its permissions"),
    "mask-missing": Check("no mask for this image; {}"),
    "mask-size": Check(),
    "names-collide": Check("{} has the same name and mask; rename one and give it its own mask"),
    "class-odd": Check("by its name, not for pictures of {}; move it to {}"),
    "labelled-empty": Check("an empty mask of a labelled defect; draw it or take the image away"),
    "mask-empty": Check("an empty mask of a defect; draw it", "takes all its pixels for good"),
    "no-mask": Check(
        "no mask for this defect; to judge pixels too, add {}", "judges the image, no pixel of it"
    ),
    "no-label": Check("no mask for this defect; to train with it, add {}", _LEFT),
    "mask-jpeg": Check(
        "a JPEG, which blurs edges; save masks as PNG", "takes what is brighter than half"
    ),
    "mask-large": Check("marks nearly the whole image; is it inverted?", "takes it as it is"),
    "mask-values": Check(
        "has {} values beside 0 ({} to {}); give it one", "takes all but 0 as one"
    ),
    "mask-turned": Check(
        "its image is turned by EXIF orientation {}, and it is not; if it was drawn on the raw "
        "pixels, save the image without that orientation",
        "takes it as drawn on the turned image",
    ),
    "leak": Check("byte for byte the training image {}; remove one", "gives figures too good"),
    "constant": Check(
        "shows next to nothing, all nearly one colour; check it", "takes it as it is"
    ),
    "dark": Check(
        "no value above a quarter of {}; if its sensor has fewer bits, give --value-range, as "
        "0,4095 of 12 (value_range in Python)",
        "takes it as nearly black",
    ),
    "clipped": Check("values from {}, beyond {}; check that", "cuts them off"),
    "alpha": Check(
        "has transparent parts, of which the colour beneath is read; save it without", "takes that"
    ),
    "pages": Check("{} is read; save the others as pictures of their own", "leaves them out"),
    "squeezed": Check(
        "{} x {} is made {} x {} (width x height), in which small defects vanish; --tile "
        "(tile=True) looks at it in parts",
        "resizes it",
    ),
    # What is left out of what looks like a picture or a mask.
    "folder-closed": Check("cannot be read ({}), nor is it of this split", _LEFT),
    "format": Check("not in a format that is read ({}); convert it", _LEFT),
    "no-suffix": Check("a picture that is not called as one; call it .{}", _LEFT),
    "link": Check("a link to a folder; --follow-links reads what is in it", _LEFT),
    "link-broken": Check("a link to {}, which is not there", _LEFT),
    "link-again": Check("a link to {}, which is read already", _LEFT),
    "folder": Check("a folder; give it itself, and what is in it is read", _LEFT),
    "mask-beside": Check("called as a mask", _LEFT),
    "mask": Check("a mask, of a picture or of none", _LEFT),
    "annotation": Check("no mask, but something that is said of a picture; draw a mask", _LEFT),
    "no-share": Check("a defect to train with, of which config.labelled_share takes none", _LEFT),
    "unused": Check("belongs to no image of this layout", _LEFT),
    "class-empty": Check("no pictures in it; fill it", _LEFT),
    # Of a copy that the doctor wrote.
    "broken": Check(training=_LEFT),
    "not-copied": Check("no place for it in the layout of the copy, which lacks it", _LEFT),
    "hidden": Check("hidden, or kept by the system", _LEFT),
    "no-test": Check(training="trains, and does not judge"),
}
_QUIET = {"hidden", "link-again", "mask"}  # nobody expects these to be read
LEFT_OUT = [name for name, check in CHECKS.items() if check.training == _LEFT]


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


def act_on(findings: Iterable[Finding], name: str, told: set[Finding] | None = None) -> None:
    """Raises a VqadError for what stops training by a source, NoTestSplit if there is no judging.

    A line is logged for each kind of the rest, but for those that were `told` already; it gets
    those that are told now.
    """
    told = set() if told is None else told
    findings = list(dict.fromkeys(findings))
    if stopping := [finding for finding in findings if finding.stops]:
        more = len(stopping) - 1
        also = f" (and {more} more: `vqad doctor {name}` lists them)" if more else ""
        raise VqadError(printable(stopping[0].message) + also)
    for check, group in grouped(findings):
        if check == "no-test":  # the last one
            raise NoTestSplit(group[0].message)
        if fresh := [finding for finding in group if finding not in told]:
            logger.warning("warning: %s; %s", in_a_line(fresh), CHECKS[check].training)
            told.update(fresh)


def tell_left_out(findings: Collection[Finding]) -> bool:
    """Logs, a line a kind, what was not looked at; whether anybody would expect it to be."""
    for line in left_out(findings):
        logger.warning("not looked at: %s", line)
    return any(finding.check in LEFT_OUT and finding.check not in _QUIET for finding in findings)


def left_out(findings: Iterable[Finding]) -> list[str]:
    """What was not looked at, a line a kind."""
    return [in_a_line(group) for check, group in grouped(findings) if check in LEFT_OUT]


def in_a_line(group: Sequence[Finding]) -> str:
    """Findings of one kind: which, how many, and what `example` tells."""
    return f"{group[0].check}: {len(group)}: {example(group)}"


def example(group: Sequence[Finding]) -> str:
    """What is wrong with the first of some, and the names of some others."""
    first, *others = group
    names = [printable(os.path.basename(each.path)) for each in others[:_NAMED]]
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return printable(first.message) + (f" (also {', '.join(names)}{more})" if names else "")


def grouped(findings: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    """Findings by their check, in the order of `CHECKS`."""
    found = list(dict.fromkeys(findings))
    groups = [(check, [each for each in found if each.check == check]) for check in CHECKS]
    return [(check, group) for check, group in groups if group]
