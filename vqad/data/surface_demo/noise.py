"""Random fields with a given look, made by filtering white noise in the Fourier domain."""

import numpy as np


def smooth_noise(
    rng: np.random.Generator, size: int, along: float, across: float, angle: float = 0.0
) -> np.ndarray:
    """Gaussian noise, `along` pixels smooth in direction `angle` and `across` pixels across it.

    Returns:
      float64 [size, size] with mean 0 and standard deviation 1.
    """
    fy, fx = _frequencies(size)
    u = fx * np.cos(angle) + fy * np.sin(angle)
    v = fy * np.cos(angle) - fx * np.sin(angle)
    return _filtered(rng, np.exp(-2 * np.pi**2 * ((u * along) ** 2 + (v * across) ** 2)))


def fractal_noise(rng: np.random.Generator, size: int, exponent: float) -> np.ndarray:
    """Noise whose amplitude falls as frequency ** -exponent: 0 is white, 1 cloudy, 2 very soft.

    Returns:
      float64 [size, size] with mean 0 and standard deviation 1.
    """
    fy, fx = _frequencies(size)
    return _filtered(rng, np.maximum(np.hypot(fy, fx), 1 / size) ** -exponent)


def _frequencies(size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]


def _filtered(rng: np.random.Generator, response: np.ndarray) -> np.ndarray:
    size = response.shape[0]
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * response)
    return (noise - noise.mean()) / noise.std()
