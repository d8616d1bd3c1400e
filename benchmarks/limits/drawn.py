"""The detector on drawn anomalies that it never saw, with I_spc and with oracles in its place."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from benchmarks.limits import shapes
from benchmarks.limits.figures import image_auroc, local_mean, pixel_figures, psnr
from benchmarks.limits.links import SPECIFIC, Links
from benchmarks.limits.tables import Table
from vqad.anomalies.features import Disturbance, draw_disturbance
from vqad.config import base_config

STRENGTHS = (0.2, 0.5, 1.0)
LEVELS = {"lo alone": (False, True), "hi alone": (False, False), "both levels": (True, False)}
AS_TRAINED = "as trained"
PICTURES = ("I_gen", *(name for name in SPECIFIC if name != "I"))  # that have an error
_KEY = 2022_08  # far from a run's keys, which are folded from its seed


def settings(
    count: int, size: tuple[int, int], stage2: Mapping[str, Any]
) -> Iterator[tuple[str, Disturbance]]:
    """Anomalies as training draws them, and with one thing changed at a time.

    Args:
      count: n.
      size: (h, w).
      stage2: ``min_strength`` and ``max_cells`` of the training.

    Yields:
      A name and the draws; no mask is empty.
    """
    low, cells = stage2["min_strength"], stage2["max_cells"]
    draws = jax.device_get(draw_disturbance(jax.random.key(_KEY), count, size, low, cells))
    draws = draws.replace(mask=shapes.trained_masks(cells, count, size))
    yield AS_TRAINED, draws
    for strength in STRENGTHS:
        fixed = np.full(count, strength, np.float32)
        yield f"strength {strength}", draws.replace(strength_lo=fixed, strength_hi=fixed)
    for name, flags in LEVELS.items():
        use_both, use_lo = (np.full(count, flag) for flag in flags)
        yield name, draws.replace(use_both=use_both, use_lo=use_lo)
    yield "thin curves", draws.replace(mask=shapes.thin_curves(count, size))
    yield "small spots", draws.replace(mask=shapes.small_spots(count, size))
    for cells in (4, 32):
        if 2 * cells > min(size):  # the noise is 0 at the corners of its cells
            continue
        mask = shapes.perlin_masks_of(cells, count, size)
        yield f"Perlin, {cells} cells", draws.replace(mask=mask)


def trained_settings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What stage 2 was told of anomalies; the paper's settings where that is not known."""
    known = metadata.get("config", {}).get("stage2", {})
    default = base_config().stage2
    return {name: known.get(name, default[name]) for name in ("min_strength", "max_cells")}


def measure_drawn(
    links: Links, good: np.ndarray, count: int, stage2: Mapping[str, Any]
) -> tuple[Table, Table]:
    """Draws anomalies into the codes of good test images and looks.

    Args:
      links: the model.
      good: images uint8 [m, h, w, 3].
      count: n, how many are looked at; where there are fewer, they come again with other anomalies.
      stage2: see ``settings``.

    Returns:
      The tables ``errors`` and ``drawn``.
    """
    images = good[np.resize(np.random.default_rng(0).permutation(len(good)), count)]
    clean = None
    errors, detected = {}, {}
    for name, draws in settings(count, images.shape[1:3], stage2):
        if clean is None:
            clean = links.look_at_drawn(images, draws.replace(mask=np.zeros_like(draws.mask)))
        found = links.look_at_drawn(images, draws)
        errors[name] = _errors(found)
        detected[name] = _detected(found, clean, links.model.score_window)
    return (
        Table("errors", "PSNR on drawn anomalies, inside and outside of the mask", errors, 2),
        Table("drawn", "the detector on drawn anomalies, by what stands for I_spc", detected),
    )


def _errors(found: Mapping[str, Any]) -> dict[str, float]:
    inside = found["target"] > 0
    errors = {name: found["errors"][name] for name in PICTURES}
    return {
        f"{name} {place}": float(psnr(error[where].mean())) if where.any() else np.nan
        for name, error in errors.items()
        for place, where in (("inside", inside), ("outside", ~inside))
    }


def _detected(found: Mapping[str, Any], clean: Mapping[str, Any], window: int) -> dict[str, float]:
    """Figures over the same images with and without anomalies."""
    masks = np.concatenate([clean["target"], found["target"]])
    defective = masks.any((1, 2))
    row = {"anomalous pixels": float(masks.mean())}
    for name in SPECIFIC:
        maps = np.concatenate([clean["maps"][name], found["maps"][name]])
        row[f"AP {name}"] = pixel_figures(maps, masks)["pixel_ap"]
        scores = local_mean(maps, window).max((1, 2))
        row[f"AUROC {name}"] = image_auroc(scores, defective)
    return row
