"""Worst and best cases of a judgement, kept for a look."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vqad.prediction.pictures import to_uint8


@dataclass(frozen=True)
class Case:
    """One judged image, for a look.

    Attributes:
        class_name, name: the image's class and file name.
        score: its image score.
        image: uint8 [h, w, 3].
        truth: uint8 [h, w] in {0, 1}.
        mask: float32 [h, w] in [0, 1], the predicted pixel map.
        general, specific: uint8 [h, w, 3], the two reconstructions.
    """

    class_name: str
    name: str
    score: float
    image: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    general: np.ndarray
    specific: np.ndarray


class Extremes:
    """The k cases of the highest rank seen so far; a case is only built when it gets in."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._kept: list[tuple[float, Case]] = []

    def offer(self, rank: float, build: Callable[[], Case]) -> None:
        """Considers a case; of equal ranks the earlier one stays."""
        if len(self._kept) < self._k or rank > self._kept[-1][0]:
            self._kept.append((rank, build()))
            self._kept.sort(key=lambda kept: -kept[0])
            del self._kept[self._k :]

    def cases(self) -> list[Case]:
        """The cases, highest rank first."""
        return [case for _, case in self._kept]


def build_case(
    predicted: Mapping[str, np.ndarray],
    batch: Mapping[str, np.ndarray],
    row: int,
    class_name: str,
    name: str,
) -> Case:
    """The case of one row of a batch and of what was predicted of it."""
    # Copies, because a view would keep the whole batch alive.
    return Case(
        class_name=class_name,
        name=name,
        score=float(predicted["score"][row]),
        image=np.array(batch["image"][row]),
        truth=np.array(batch["mask"][row]),
        mask=np.array(predicted["mask"][row], np.float32),
        general=to_uint8(predicted["general"][row]),
        specific=to_uint8(predicted["specific"][row]),
    )
