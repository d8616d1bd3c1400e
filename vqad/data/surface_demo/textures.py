"""The two kinds of images without defects: brushed metal tiles, and pictures of anything."""

import numpy as np
from PIL import Image, ImageDraw


def smooth_noise(
    rng: np.random.Generator, size: int, along: float, across: float, angle: float = 0.0
) -> np.ndarray:
    """Gaussian noise, `along` pixels smooth in direction `angle` and `across` pixels across it.

    Returns:
      float64 [size, size] with mean 0 and standard deviation 1.
    """
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    u = fx * np.cos(angle) + fy * np.sin(angle)
    v = fy * np.cos(angle) - fx * np.sin(angle)
    return _filtered(rng, np.exp(-2 * np.pi**2 * ((u * along) ** 2 + (v * across) ** 2)))


def fractal_noise(rng: np.random.Generator, size: int, exponent: float) -> np.ndarray:
    """Noise whose amplitude falls as frequency ** -exponent: 0 is white, 1 cloudy, 2 very soft.

    Returns:
      float64 [size, size] with mean 0 and standard deviation 1.
    """
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    return _filtered(rng, np.maximum(np.hypot(fy, fx), 1 / size) ** -exponent)


def _filtered(rng: np.random.Generator, response: np.ndarray) -> np.ndarray:
    size = response.shape[0]
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * response)
    return (noise - noise.mean()) / noise.std()


def metal_tile(rng: np.random.Generator, size: int) -> np.ndarray:
    """A brushed metal surface under uneven light.

    Light, tint and grain vary from tile to tile and within one by more than a defect changes an
    average, so that only the look of a defect gives it away.

    Returns:
      float64 [size, size, 3], about 0.2 to 0.9.
    """
    angle = rng.normal(0, 0.02)
    grain = 0.024 * smooth_noise(rng, size, 24, 0.6, angle)
    grain += 0.018 * smooth_noise(rng, size, 60, 2.0, angle)
    grain *= rng.uniform(0.7, 1.3) * (1 + 0.3 * smooth_noise(rng, size, 20, 14))
    across = np.linspace(-1, 1, size)
    direction = rng.uniform(0, 2 * np.pi)
    light = across * np.cos(direction) + across[:, None] * np.sin(direction)
    light = rng.uniform(0.02, 0.16) * light + 0.05 * smooth_noise(rng, size, 26, 13)
    brightness = rng.uniform(0.42, 0.66) * (1 + light + grain)
    warmth = rng.normal(0, 0.02) + 0.022 * smooth_noise(rng, size, 22, 16)
    tint = np.array([0.97, 1.0, 1.04]) + warmth[..., None] * np.array([1.0, 0.1, -1.0])
    return brightness[..., None] * tint + rng.normal(0, 0.006, (size, size, 3))


def picture(rng: np.random.Generator, size: int) -> np.ndarray:
    """A picture of anything: a textured ground with shapes, strokes, blobs and dots on it.

    Returns:
      float64 [size, size, 3], about 0 to 1.
    """
    image = _ground(rng, size)
    for _ in range(rng.integers(0, 4)):
        image = _blob(rng, image)
    if rng.random() < 0.8:
        image = _shapes(rng, image)
    if rng.random() < 0.5:
        shade = 1 + rng.uniform(0.05, 0.25) * smooth_noise(rng, size, *rng.uniform(8, 40, 2))
        image = image * shade[..., None]
    return image + rng.uniform(0, 0.03) * rng.standard_normal(image.shape)


def _colour(rng: np.random.Generator) -> np.ndarray:
    grey = rng.uniform(0.05, 0.95)
    return np.clip(grey + rng.choice([0.03, 0.12, 0.35]) * rng.uniform(-1, 1, 3), 0, 1)


def _ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """Two colours mixed by noise, grain, waves or a gradient."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle = rng.uniform(0, np.pi)
    ramp = x * np.cos(angle) + y * np.sin(angle)
    kind = rng.integers(5)
    if kind == 0:
        pattern = fractal_noise(rng, size, rng.uniform(0.6, 2.0))
    elif kind == 1:
        pattern = smooth_noise(rng, size, rng.uniform(6, 60), rng.uniform(0.5, 3), angle)
    elif kind == 2:
        pattern = smooth_noise(rng, size, *rng.uniform(0.7, 6, 2), angle)
    elif kind == 3:
        bend = 0.3 * rng.random() * smooth_noise(rng, size, 16, 16)
        pattern = 2 * np.sin(rng.uniform(4, 60) * (ramp + 0.2 * bend))
    else:
        pattern = 2 * ramp
    mix = 1 / (1 + np.exp(-rng.uniform(0.3, 3) * pattern))
    colours = _colour(rng), _colour(rng)
    if rng.random() < 0.5:  # half of the grounds are calm, as most surfaces are
        colours = colours[0], colours[0] + rng.uniform(0.1, 0.4) * (colours[1] - colours[0])
    return colours[0] + mix[..., None] * (colours[1] - colours[0])


def _blob(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A soft patch of another colour, or of a multiple of the colour below it."""
    size = image.shape[0]
    y, x = np.mgrid[:size, :size]
    centre, radius = rng.uniform(0, size, 2), rng.uniform(3, size / 3)
    distance = np.hypot(y - centre[0], x - centre[1]) / radius
    distance += rng.uniform(0, 0.4) * smooth_noise(rng, size, radius / 2, radius / 2)
    alpha = 1 / (1 + np.exp(np.clip(rng.uniform(2, 30) * (distance - 1), -60, 60)))
    alpha = rng.uniform(0.3, 1) * alpha[..., None]
    paint = _colour(rng) if rng.random() < 0.5 else image * rng.uniform(0.3, 1.8)
    return image + alpha * (paint - image)


def _shapes(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Lines, curves, dots, ellipses and polygons with smooth edges."""
    size, fine = image.shape[0], 2 * image.shape[0]
    canvas = Image.fromarray((255 * np.clip(image, 0, 1)).astype(np.uint8))
    canvas = canvas.resize((fine, fine), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(1, 14)):
        colour = tuple((255 * _colour(rng)).astype(int).tolist())
        start = rng.uniform(0, fine, 2)
        kind = rng.integers(4)
        if kind == 0:
            path = start + np.cumsum(rng.normal(0, fine / 12, (rng.integers(2, 9), 2)), axis=0)
            draw.line(path.ravel().tolist(), colour, int(rng.integers(1, 9)), joint="curve")
        elif kind == 1:
            for spot in start + rng.normal(0, fine / 6, (rng.integers(1, 30), 2)):
                draw.circle(spot.tolist(), rng.uniform(1, 6), colour)
        elif kind == 2:
            sides = rng.uniform(4, fine / 3, 2)
            draw.ellipse([*start, *(start + sides)], colour)
        else:
            corners = start + rng.normal(0, fine / 8, (rng.integers(3, 7), 2))
            draw.polygon(corners.ravel().tolist(), colour)
    return np.asarray(canvas.resize((size, size), Image.Resampling.BILINEAR)) / 255.0
