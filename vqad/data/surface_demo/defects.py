"""Four kinds of defects painted onto a clean surface, each with its mask.

Each function takes the surface, float64 [size, size, 3], and returns the painted surface and where
the defect is, bool [size, size]. What they paint outside the mask does not count.
"""

from collections.abc import Callable

import numpy as np

from vqad.data.surface_demo.textures import smooth_noise

Painted = tuple[np.ndarray, np.ndarray]


def scratch(rng: np.random.Generator, clean: np.ndarray) -> Painted:
    """A thin bent furrow: dark on one side, bright metal on the other."""
    size = clean.shape[0]
    length, angle = rng.uniform(0.25, 0.55) * size, rng.uniform(0.15, np.pi - 0.15)
    along = np.array([np.sin(angle), np.cos(angle)])
    normal = np.array([along[1], -along[0]])
    t = np.linspace(-1, 1, 80)
    bow = (1 - t**2) * rng.normal(0, 0.04) * size
    path = np.outer(t, along) * length / 2 + np.outer(bow, normal)
    path += _centre(rng, size, np.abs(path).max(axis=0) + 4)
    y, x = np.mgrid[:size, :size]
    squared = (y[..., None] - path[:, 0]) ** 2 + (x[..., None] - path[:, 1]) ** 2
    nearest = squared.argmin(axis=-1)  # [size, size], into the path
    distance = np.sqrt(squared.min(axis=-1))
    side = (y - path[nearest, 0]) * normal[0] + (x - path[nearest, 1]) * normal[1]
    width = rng.uniform(1.3, 2.1) * (1 - 0.6 * t**4)[nearest]
    depth = rng.uniform(0.3, 0.5) * rng.choice([-1, 1])
    depth = depth * (1 + 0.25 * smooth_noise(rng, size, 5, 5))
    change = depth * np.tanh(2 * (side + 0.45)) * np.clip(1.4 - distance / width, 0, 1)
    return clean * (1 + change)[..., None], distance < width


def pit(rng: np.random.Generator, clean: np.ndarray) -> Painted:
    """One to four small craters close together, dark inside, with a lit wall."""
    size = clean.shape[0]
    count = rng.integers(1, 5)
    centre = _centre(rng, size, np.full(2, 22.0))
    image, mask = clean, np.zeros((size, size), bool)
    for _ in range(count):
        radius = rng.uniform(2.6, 5.2) * (1.25 if count == 1 else 1)
        y, x, wobble = _polar(rng, size, centre + rng.normal(0, 7, 2) * (count > 1))
        distance = np.hypot(y, x) / (radius * wobble)
        inside = 1 / (1 + np.exp(np.clip(7 * (distance - 0.85), -60, 60)))
        wall = inside * np.clip((0.75 * y + 0.65 * x) / radius, -1, 1)
        image = image * (1 - 0.42 * inside + 0.75 * np.clip(wall, -0.2, 1))[..., None]
        mask |= distance < 1.1
    return image, mask


def stain(rng: np.random.Generator, clean: np.ndarray) -> Painted:
    """A dried puddle: rust, oil or a pale residue, with a stronger edge."""
    size = clean.shape[0]
    radius = rng.uniform(8, 14)
    y, x, wobble = _polar(rng, size, _centre(rng, size, np.full(2, 18.0)))
    distance = np.hypot(y * rng.uniform(0.8, 1.3), x) / (radius * wobble)
    distance += 0.06 * smooth_noise(rng, size, 2.5, 2.5)
    kinds = np.array([[0.88, 0.66, 0.46], [0.70, 0.78, 0.96], [1.26, 1.22, 1.10]])
    film = kinds[rng.integers(len(kinds))] - 1
    edge = np.exp(-(((distance - 0.85) / 0.13) ** 2))
    strength = rng.uniform(0.75, 1.1) * (0.75 + 0.12 * smooth_noise(rng, size, 4, 4) + 0.4 * edge)
    strength *= 1 / (1 + np.exp(np.clip(25 * (distance - 1), -60, 60)))
    return clean * (1 + strength[..., None] * film), distance < 1.05


def dent(rng: np.random.Generator, clean: np.ndarray) -> Painted:
    """A shallow hollow: the side turned to the light is brighter, the other one darker."""
    size = clean.shape[0]
    radius = rng.uniform(8, 13)
    y, x, wobble = _polar(rng, size, _centre(rng, size, np.full(2, 17.0)))
    turn = rng.uniform(0, np.pi)
    u = (x * np.cos(turn) + y * np.sin(turn)) * rng.uniform(1.0, 1.4)
    v = y * np.cos(turn) - x * np.sin(turn)
    distance = np.hypot(u, v) / (radius * wobble)
    slope = distance * np.clip(1 - distance**2, 0, 1) * 2.6  # 1 at its steepest
    light = rng.normal(np.pi / 4, 0.25)
    facing = np.cos(np.arctan2(y, x) - light)
    change = rng.uniform(0.3, 0.45) * slope * facing
    # The brushing bends with the surface: look it up a little further out.
    rows, columns = np.mgrid[:size, :size]
    pull = 0.3 * np.clip(1 - distance**2, 0, 1)
    rows = np.clip(np.rint(rows + pull * y), 0, size - 1).astype(int)
    columns = np.clip(np.rint(columns + pull * x), 0, size - 1).astype(int)
    return clean[rows, columns] * (1 + change)[..., None], distance < 0.95


DEFECTS: dict[str, Callable[[np.random.Generator, np.ndarray], Painted]] = {
    paint.__name__: paint for paint in (scratch, pit, stain, dent)
}


def _centre(rng: np.random.Generator, size: int, margin: np.ndarray) -> np.ndarray:
    """A place, (row, column), at least `margin` pixels from the edges."""
    return rng.uniform(margin, size - margin)


def _polar(
    rng: np.random.Generator, size: int, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets from a centre, and a factor that makes a radius irregular around it."""
    y, x = np.mgrid[:size, :size]
    y, x = y - centre[0], x - centre[1]
    around = np.arctan2(y, x)
    wobble = sum(
        rng.normal(0, 0.09 / k) * np.cos(k * around + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    return y, x, 1 + wobble
