"""Worst and best cases of a judgement, kept for a look."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


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
        self._heap: list[tuple[float, int, Case]] = []

    def offer(self, rank: float, order: int, build: Callable[[], Case]) -> None:
        """Consider a case; `order` is its place among all images."""
        # Of equal ranks the earlier image wins; `order` is unique, so cases are never compared.
        entry = (rank, -order)
        if len(self._heap) < self._k:
            heapq.heappush(self._heap, (*entry, build()))
        elif entry > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*entry, build()))

    def cases(self) -> list[Case]:
        """The cases, highest rank first."""
        return [case for *_, case in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


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
        general=_to_uint8(predicted["general"][row]),
        specific=_to_uint8(predicted["specific"][row]),
    )
