"""One number for a whole image: which way to read it off a map tells good from defective best."""

from collections.abc import Mapping

import numpy as np

from benchmarks.limits.figures import image_auroc, image_auroc_interval, local_mean
from benchmarks.limits.tables import Table

WINDOWS = (1, 3, 5, 7, 11, 15, 21)


def standardise(maps: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Takes off at each place what maps of good images have there.

    A map that hardly changes at a place would be divided by next to nothing: the mean variance of
    all places is added to that of each.

    Args:
      maps: float [n, h, w].
      good: maps of good images [m, h, w].

    Returns:
      float [n, h, w].
    """
    variance = good.var(0)
    deviation = np.sqrt(variance + variance.mean() + np.finfo(np.float32).tiny)
    return (maps - good.mean(0)) / deviation


def maxima(
    maps: np.ndarray, good: np.ndarray, window: int
) -> dict[bool, tuple[np.ndarray, np.ndarray]]:
    """Maxima of local means.

    Args:
      maps: of test images, float32 [n, h, w].
      good: of good images held aside, float32 [m, h, w].
      window: odd side of the local mean.

    Returns:
      Scores [n] and [m] of both, of the maps as they are (False) and standardised (True).
    """
    maps, good = (local_mean(a, window) for a in (maps, good))
    both = maps, good
    return {
        False: tuple(a.max((1, 2)) for a in both),
        True: tuple(standardise(a, good).max((1, 2)) for a in both),
    }


def measure_scores(
    maps: Mapping[str, np.ndarray],
    good: Mapping[str, np.ndarray],
    defective: np.ndarray,
    window: int,
) -> tuple[Table, Table]:
    """Evaluates many ways to score an image.

    Args:
      maps: of test images by name, float32 [n, h, w], with ``M`` and ``M_up`` among them.
      good: the same of good images held aside, [m, h, w].
      defective: bool [n].
      window: the model's own.

    Returns:
      The tables ``scores`` and ``combined``.
    """
    found = {
        (name, w): maxima(maps[name], good[name], w)
        for name in maps
        for w in sorted({*WINDOWS, window})
    }
    rows = {}
    for name in maps:
        for kind, title in ((False, name), (True, f"{name} standardised")):
            rows[title] = {
                f"{w} x {w}": image_auroc(found[name, w][kind][0], defective) for w in WINDOWS
            }
    own = found["M", window][False][0]
    low, high = image_auroc_interval(own, defective)
    combined = {
        f"the model's score, M, {window} x {window}": {
            "AUROC": image_auroc(own, defective),
            "from": low,
            "to": high,
        }
    }
    for title, chosen in _combinations(list(maps), window).items():
        score = sum(_in_deviations(*found[name, w][kind]) for name, w, kind in chosen)
        combined[title] = {"AUROC": image_auroc(score, defective), "from": np.nan, "to": np.nan}
    return (
        Table("scores", "image AUROC by map and window of the local mean", rows),
        Table("combined", "image AUROC of combined scores", combined),
    )


def _combinations(names: list[str], window: int) -> dict[str, list[tuple[str, int, bool]]]:
    """Scores to be summed, by name: map, window, and whether it is standardised."""
    masks = ["M", "M_up"]
    every = {
        kind: {name: [(name, w, kind) for w in WINDOWS] for name in names} for kind in (False, True)
    }
    return {
        f"M_up, {window} x {window}": [("M_up", window, False)],
        f"M and M_up, {window} x {window}": [(name, window, False) for name in masks],
        "M, all windows": every[False]["M"],
        "M_up, all windows": every[False]["M_up"],
        "M and M_up, all windows": [s for name in masks for s in every[False][name]],
        "M and M_up standardised, all windows": [s for name in masks for s in every[True][name]],
        "all maps, all windows": [s for name in names for s in every[False][name]],
        "all maps standardised, all windows": [s for name in names for s in every[True][name]],
    }


def _in_deviations(scores: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Scores [n] in deviations of those of good images [m] from their mean."""
    return (scores - good.mean()) / max(float(good.std()), np.finfo(np.float32).tiny)
