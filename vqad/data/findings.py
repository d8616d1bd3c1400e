"""What can be wrong with images and masks, and what training does about it."""

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vqad.errors import VqadError, printable

logger = logging.getLogger(__name__)


class Check(NamedTuple):
    """Something that may be wrong: its title, what training does then, and if that is to stop."""

    title: str
    training: str
    stops: bool = False


_STOPS = "does not start"

CHECKS = {
    "layout": Check("layout", _STOPS, stops=True),
    "too-deep": Check("pictures one level too deep", _STOPS, stops=True),
    "outside": Check("link out of the folder", _STOPS, stops=True),
    "unreadable": Check("unreadable picture or mask", _STOPS, stops=True),
    "mask-missing": Check("mask missing", _STOPS, stops=True),
    "mask-size": Check("mask of another size", _STOPS, stops=True),
    "names-collide": Check("names that collide", _STOPS, stops=True),
    "labelled-empty": Check("labelled defect with an empty mask", _STOPS, stops=True),
    "mask-empty": Check("empty mask in test", "judges the image as defective, no pixel of it"),
    "mask-large": Check("mask over most of the image", "takes it as it is drawn"),
    "mask-values": Check("mask not black and white", "takes all that is not black as defective"),
    "leak": Check("same file in train and test", "starts; figures come out too good"),
    "constant": Check("near-constant picture", "takes it as it is"),
    "dark": Check("16-bit picture of few bits", "takes it as it is, nearly black"),
    "names-case": Check("names differ in case only", "takes both; other systems mix them up"),
    "class-empty": Check("folder without pictures", "leaves it out"),
    "no-test": Check("nothing to judge by in test", "trains, and does not judge"),
    "deeper": Check("pictures one level deeper", "leaves them out"),
    "unused": Check("file that is not read", "leaves it out"),
}


class Finding(NamedTuple):
    """Something wrong: which of `CHECKS`, the file or folder, and a line that names it."""

    check: str
    path: str
    message: str

    @property
    def stops(self) -> bool:
        """Whether training does not start because of it."""
        return CHECKS[self.check].stops


def act_on(findings: Sequence[Finding], name: str) -> None:
    """Refuses what stops training; logs a line for each kind of the rest.

    Args:
      findings: what was found in the source.
      name: the source, as `vqad doctor` takes it.

    Raises:
      VqadError: the first finding that stops training.
    """
    stopping = [finding for finding in findings if finding.stops]
    if stopping:
        more = len(stopping) - 1
        also = f" (and {more} more: `vqad doctor {name}` lists them)" if more else ""
        raise VqadError(printable(stopping[0].message) + also)
    for check, group in grouped(findings):
        title, training, _ = CHECKS[check]
        example = printable(group[0].message)
        logger.warning("warning: %s: %d: %s; %s", title, len(group), example, training)


def grouped(findings: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    """Findings by their check, in the order of `CHECKS`."""
    found = list(findings)
    groups = [(check, [each for each in found if each.check == check]) for check in CHECKS]
    return [(check, group) for check, group in groups if group]
