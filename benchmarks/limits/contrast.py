"""How far real defects stand out in each picture and in each difference of two."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from benchmarks.limits.figures import effect_size, pixel_figures
from benchmarks.limits.surface import LabelledImages
from benchmarks.limits.tables import Table

LAID_ON = 8  # good images that each mask is laid on
_GAP = 2  # pixels between a mask, which is seldom exact, and its ring


def contrast_maps(
    image: np.ndarray, general: np.ndarray, specific: np.ndarray
) -> dict[str, np.ndarray]:
    """Maps of what stands out, all mean absolute differences over the channels.

    Local means are over squares of an eighth of the image's height.

    Args:
      image: I, float32 [n, h, w, 3].
      general: I_gen, the same.
      specific: I_spc, the same.

    Returns:
      float32 [n, h, w] by name.
    """
    window = 2 * (image.shape[1] // 16) + 1

    def stand_out(pictures: np.ndarray) -> np.ndarray:
        means = ndimage.uniform_filter(pictures, (1, window, window, 1), mode="nearest")
        return np.abs(pictures - means).mean(-1)

    def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.abs(a - b).mean(-1)

    return {
        "|I - local mean|": stand_out(image),
        "|I_gen - local mean|": stand_out(general),
        "|I_gen - I_spc|": difference(general, specific),
        "|I - I_gen|": difference(image, general),
        "|I - I_spc|": difference(image, specific),
    }


def ring(mask: np.ndarray) -> np.ndarray:
    """A ring around a mask, as wide as a sixteenth of the height and two pixels away from it.

    Args:
      mask: 0 and 1 [h, w], not all 0.

    Returns:
      bool [h, w].
    """
    distance = ndimage.distance_transform_edt(mask == 0)
    return (distance > _GAP) & (distance <= _GAP + max(mask.shape[0] // 16, 2))


def mean_levels(
    maps: np.ndarray, part: LabelledImages
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of a map inside defects, in rings around them, and on good images.

    Args:
      maps: float [n, h, w].
      part: the test part of n images, d of them defective.

    Returns:
      Means inside each mask and in its ring [d] and inside the same mask on good images [d, k];
      NaN where a mask or its ring is empty.
    """
    good = maps[~part.defective]
    inside, around, elsewhere = [], [], []
    for number, row in enumerate(np.flatnonzero(part.defective)):
        mask = part.masks[row] > 0
        laid_on = (number * LAID_ON + np.arange(min(LAID_ON, len(good)))) % len(good)
        inside.append(_mean(maps[row], mask))
        around.append(_mean(maps[row], ring(mask) if mask.any() else mask))
        elsewhere.append([_mean(good[i], mask) for i in laid_on])
    return np.array(inside), np.array(around), np.array(elsewhere)


def _mean(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean()) if where.any() else np.nan


def measure_contrast(maps: Mapping[str, np.ndarray], part: LabelledImages) -> tuple[Table, ...]:
    """Compares defects with what is around them and with good images.

    Args:
      maps: float [n, h, w] by name, see ``contrast_maps``.
      part: the test part of n images.

    Returns:
      The tables ``ring``, ``good`` and ``pixels``.
    """
    classes = part.class_ids[part.defective]
    groups = {
        part.classes[class_id]: classes == class_id
        for class_id in range(1, len(part.classes))
        if (classes == class_id).any()
    }
    groups["all"] = classes > 0
    against: dict[str, dict[str, dict[str, float]]] = {
        kind: {name: {} for name in groups} for kind in ("ring", "good")
    }
    for map_name, values in maps.items():
        inside, around, elsewhere = mean_levels(values, part)
        for name, members in groups.items():
            for kind, others in (("ring", around), ("good", elsewhere)):
                size = effect_size(inside[members], others[members])
                against[kind][name][map_name] = size
    pixels = {}
    for map_name, values in maps.items():
        figures = pixel_figures(values, part.masks)
        pixels[map_name] = {"AUROC": figures["pixel_auroc"], "AP": figures["pixel_ap"]}
    return (
        Table("ring", "effect sizes of defects against a ring around them", against["ring"], 2),
        Table("good", "effect sizes of defects against good images", against["good"], 2),
        Table("pixels", "each map alone as a detector", pixels),
    )
