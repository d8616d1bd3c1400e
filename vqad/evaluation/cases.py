"""Worst and best cases of an evaluation, kept for a look."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vqad.prediction.pictures import to_uint8


@dataclass(frozen=True)
class Case:
    """One judged image: uint8 [h, w, 3] but for the truth and the predicted map.

    The truth is uint8 [h, w] in {0, 1}, the mask float32 [h, w] in [0, 1].
    """

    class_name: str
    name: str
    score: float
    image: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    general: np.ndarray
    specific: np.ndarray


Ranked = list[tuple[float, Case]]


def keep_highest(kept: Ranked, k: int, rank: float, build: Callable[[], Case]) -> None:
    """Puts a case, built only then, among the k of the highest rank; earlier ones win ties."""
    if len(kept) < k or rank > kept[-1][0]:
        kept.append((rank, build()))
        kept.sort(key=lambda each: -each[0])
        del kept[k:]


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
