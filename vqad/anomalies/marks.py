"""Marks on images: anomalies that cohere, drawn before encoding; off in the paper's settings.

A mark is a patch, a shade, some spots or a curve, filled with one colour, with the surface itself
made darker or lighter, or with another place of it. Codes that are replaced one by one
(``features``) look like grain, each position of its own; a detector that has seen nothing else
looks for grain.
"""

import jax
import jax.numpy as jnp

from vqad.anomalies.perlin import MAX_CELLS, THRESHOLD, perlin_noise_field

VISIBLE = 0.02
"""Change of a channel, of 1, from which on a pixel counts as anomalous."""

_SPOTS, _CURVE_POINTS = 6, 13
_CLEAN, _SHADES = 0.25, 0.4


def random_marks(
    key: jax.Array, image: jax.Array, max_cells: int = MAX_CELLS
) -> tuple[jax.Array, jax.Array]:
    """Marks three quarters of the images of a batch, float32 [n, h, w, 3] in [0, 1].

    Patches have noise of up to ``max_cells`` cells, a power of two that divides h and w. Returned
    are the images, and where they changed visibly, float32 [n, h, w, 1] in {0, 1}.
    """
    shape_key, fill_key, clean_key, order_key = jax.random.split(key, 4)
    n, h, w, _ = image.shape
    alpha = jax.vmap(lambda k: _mark_shape(k, (h, w), max_cells))(jax.random.split(shape_key, n))
    others = image[jax.random.permutation(order_key, n)]
    fill = jax.vmap(_fill)(jax.random.split(fill_key, n), image, others)
    alpha = alpha * jax.random.bernoulli(clean_key, 1 - _CLEAN, (n, 1, 1, 1))
    marked = jnp.clip(image + alpha * (fill - image), 0, 1)
    changed = jnp.abs(marked - image).max(-1, keepdims=True) > VISIBLE
    return marked, changed.astype(jnp.float32)


def _mark_shape(key: jax.Array, size: tuple[int, int], max_cells: int) -> jax.Array:
    """Opacity of one mark, float32 [h, w, 1] in [0, 1]."""
    kind_key, shape_key, edge_key, opacity_key, shade_key = jax.random.split(key, 5)
    kind = jax.random.randint(kind_key, (), 0, 3)
    # Of each kind the signed distance to its edge, in about pixels, positive inside.
    noise, cells = perlin_noise_field(shape_key, size, max_cells)
    patch = (noise[..., 0] - THRESHOLD) * min(size) / cells.max()
    shapes = [patch, _spots(shape_key, size), _curve(shape_key, size)]
    inside = jnp.select([kind == i for i in range(3)], shapes)
    softness = jax.random.uniform(edge_key, minval=0.5, maxval=2.5)
    # Some patches are shades, which have no edge.
    shade = (kind == 0) & jax.random.bernoulli(shade_key, _SHADES)
    softness = jnp.where(shade, 8 * softness, softness)
    opacity = jax.random.uniform(opacity_key, minval=0.3, maxval=1.0)
    return opacity * jnp.clip(inside / softness + 0.5, 0, 1)[..., None]


def _grid(size: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    height, width = (jnp.arange(side, dtype=jnp.float32) for side in size)
    return height, width


def _spots(key: jax.Array, size: tuple[int, int]) -> jax.Array:
    """One to six ellipses with radii of 1 to 10 pixels (of 128), near each other."""
    keys = jax.random.split(key, 6)
    y, x = _grid(size)
    scale = min(size) / 128
    centre = jax.random.uniform(keys[0], (2,)) * jnp.array(size)
    spread = jax.random.uniform(keys[1], minval=2.0, maxval=24.0) * scale
    places = centre + spread * jax.random.normal(keys[2], (_SPOTS, 2))
    places = places.at[0].set(centre)
    radius = scale * jnp.exp(jax.random.uniform(keys[3], (_SPOTS,), maxval=jnp.log(10.0)))
    aspect = jnp.exp(jax.random.uniform(keys[4], (_SPOTS, 1, 1), minval=-0.7, maxval=0.7))
    dy = (y[None, :, None] - places[:, 0, None, None]) * aspect
    dx = (x[None, None, :] - places[:, 1, None, None]) / aspect
    used = jnp.arange(_SPOTS) < jax.random.randint(keys[5], (), 1, _SPOTS + 1)
    inside = jnp.where(used, radius, -jnp.inf)[:, None, None] - jnp.hypot(dy, dx)
    return inside.max(0)


def _curve(key: jax.Array, size: tuple[int, int]) -> jax.Array:
    """A quadratic curve, 1 to 3 pixels wide (of 128), of any length up to the image's."""
    keys = jax.random.split(key, 4)
    y, x = _grid(size)
    scale = min(size) / 128
    start = jax.random.uniform(keys[0], (2,)) * jnp.array(size)
    reach = jnp.exp(jax.random.uniform(keys[1], minval=jnp.log(8.0), maxval=jnp.log(128.0)))
    steps = scale * reach * jax.random.normal(keys[2], (2, 2)) / 2
    t = jnp.linspace(0, 1, _CURVE_POINTS)[:, None]
    points = start + 2 * t * steps[0] + t * t * steps[1]
    ends = points[1:] - points[:-1]  # segments, so that long curves have no gaps
    dy = y[None, :, None] - points[:-1, 0, None, None]
    dx = x[None, None, :] - points[:-1, 1, None, None]
    end_y, end_x = ends[:, 0, None, None], ends[:, 1, None, None]
    squares = jnp.maximum(jnp.square(ends).sum(-1), 1e-6)[:, None, None]
    along = jnp.clip((dy * end_y + dx * end_x) / squares, 0, 1)
    dy, dx = dy - along * end_y, dx - along * end_x
    width = scale * jax.random.uniform(keys[3], minval=1.0, maxval=3.0)
    return width / 2 - jnp.sqrt(jnp.square(dy) + jnp.square(dx)).min(0)


def _fill(key: jax.Array, image: jax.Array, other: jax.Array) -> jax.Array:
    """What a mark shows, float32 [h, w, 3]: a colour, a gain, another place, another image.

    The colour is as far from grey as the image is, so that grey surfaces get grey marks.
    """
    keys = jax.random.split(key, 5)
    h, w, _ = image.shape
    chroma = jnp.abs(image - image.mean(-1, keepdims=True)).mean()
    colour = jax.random.uniform(keys[0], (3,))
    colour = jax.random.uniform(keys[1]) + jnp.minimum(1, 6 * chroma) * (colour - colour.mean())
    darker, lighter = jax.random.uniform(keys[2], (2,)) * jnp.array([0.6, 0.8])
    gain = jnp.where(jax.random.bernoulli(keys[2]), 0.9 - darker, 1.1 + lighter)
    offset = jax.random.randint(keys[3], (2,), jnp.array([h, w]) // 8, jnp.array([h, w]) * 7 // 8)
    moved = jnp.roll(image, offset, (0, 1))
    # The other image as bright as this place, so that its texture alone gives it away.
    grey = chroma < 0.01
    foreign = jnp.where(grey, other.mean(-1, keepdims=True), other)
    foreign = foreign - foreign.mean() + image.mean()
    kind = jax.random.choice(keys[4], 4, p=jnp.array([0.4, 0.3, 0.15, 0.15]))
    fills = [jnp.broadcast_to(colour, image.shape), gain * image, moved, foreign]
    return jnp.clip(jnp.select([kind == i for i in range(4)], fills), 0, 1)
