"""Errors of a reconstruction by spatial frequency: what of an image is drawn, and what is not."""

import numpy as np
from scipy import fft

BANDS = 6
"""Octaves, the last one up to the finest detail that pixels can hold."""


def band_errors(drawn: np.ndarray, image: np.ndarray) -> dict[str, float]:
    """Power of the error in each octave, relative to the image's own power there.

    0 is a perfect copy, 1 as bad as nothing at all (or as a flat image). I_gen or I_spc, drawn, and
    I are float [n, h, w, c]. Bands are called by their upper edge, in cycles a pixel, from coarse
    to fine ``1/64`` to ``1/2``; ``PSNR`` is of all of it, in dB.
    """
    error, power = (_spectrum(x) for x in (drawn - image, image))
    band = _bands(image.shape[1:3])
    errors = {
        f"1/{2 ** (BANDS - i)}": float(error[band == i].sum() / max(power[band == i].sum(), 1e-12))
        for i in range(BANDS)
    }
    squares = float(np.square(drawn - image).mean())
    return {**errors, "PSNR": -10 * np.log10(max(squares, 1e-12))}


def _spectrum(x: np.ndarray) -> np.ndarray:
    """Mean power [h, w] of the cosine transform, which needs no periodic borders."""
    return np.square(fft.dctn(x, axes=(1, 2), norm="ortho")).mean((0, 3))


def _bands(size: tuple[int, int]) -> np.ndarray:
    """The band [h, w] of each coefficient; -1 for the mean, which is in none."""
    y, x = (np.arange(side) / (2 * side) for side in size)  # cycles a pixel, up to 1/2
    radius = np.hypot(y[:, None], x[None, :])
    with np.errstate(divide="ignore"):
        octave = np.ceil(np.log2(2 * radius)) + BANDS - 1
    return np.where(radius > 0, np.clip(octave, 0, BANDS - 1), -1).astype(int)
