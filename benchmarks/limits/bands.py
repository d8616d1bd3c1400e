"""What of an image is drawn at all: errors of pictures by octaves of spatial frequency."""

from collections.abc import Mapping

import numpy as np
from scipy import fft

from benchmarks.limits.figures import psnr
from benchmarks.limits.tables import Table

WAVELENGTHS = ("2-4 px", "4-8 px", "8-16 px", "16-32 px", "32-64 px", ">= 64 px", "mean")


def band_of(size: tuple[int, int]) -> np.ndarray:
    """The band of each coefficient of a DCT.

    Coefficient (i, j) of h x w is a wave of i / 2h cycles per pixel down and j / 2w across; its
    frequency is the length of both. A band has its shorter wavelength but not its longer one.

    Args:
      size: (h, w).

    Returns:
      int [h, w] into ``WAVELENGTHS``: diagonal waves shorter than 2 pixels count to the first one,
      the constant is the last.
    """
    rows, columns = (np.arange(side) / (2 * side) for side in size)
    frequency = np.hypot(rows[:, None], columns)
    edges = 1 / 2.0 ** np.arange(2, len(WAVELENGTHS))
    bands = (frequency[..., None] <= edges).sum(-1)
    bands[0, 0] = len(WAVELENGTHS) - 1
    return bands


def band_power(pictures: np.ndarray) -> np.ndarray:
    """Mean square of pictures, split by bands.

    Args:
      pictures: float [n, h, w, c].

    Returns:
      float64 [bands]: their sum is the mean square over everything (Parseval).
    """
    n, h, w, c = pictures.shape
    bands = band_of((h, w)).ravel()
    power = np.zeros(len(WAVELENGTHS))
    for picture in pictures:  # one at a time, for memory
        squares = np.square(fft.dctn(picture.astype(np.float64), axes=(0, 1), norm="ortho"))
        power += np.bincount(bands, squares.sum(-1).ravel(), len(power))
    return power / (n * h * w * c)


def measure_bands(image: np.ndarray, pictures: Mapping[str, np.ndarray]) -> Table:
    """Errors of pictures against the image, band by band.

    Args:
      image: I, float [n, h, w, c].
      pictures: by name, of the same shape.

    Returns:
      The table ``bands``; its last row is of all bands, the mean left out of the relative error.
    """
    power = band_power(image)
    errors = {name: band_power(picture - image) for name, picture in pictures.items()}
    rows = {}
    for band, wavelength in enumerate(WAVELENGTHS):
        rows[wavelength] = _row(power[band], {name: e[band] for name, e in errors.items()})
    rows["all"] = _row(power[:-1].sum(), {name: e[:-1].sum() for name, e in errors.items()})
    rows["all"] |= {f"PSNR {name}": float(psnr(e.sum())) for name, e in errors.items()}
    return Table("bands", "errors on good test images by wavelength", rows)


def _row(power: float, errors: Mapping[str, float]) -> dict[str, float]:
    deviation = {"deviation of I": float(np.sqrt(power))}
    relative = {
        f"relative {name}": float(error / power) if power > 0 else np.nan
        for name, error in errors.items()
    }
    return deviation | relative | {f"PSNR {name}": float(psnr(e)) for name, e in errors.items()}
