"""What the modules' own features know: the distance to good parts, as PatchCore takes it."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.limits.figures import image_auroc
from benchmarks.limits.links import in_batches, to_float
from benchmarks.limits.scores import standardise
from benchmarks.limits.tables import Table
from vqad.models.dsr import Dsr

GRID = 16
"""Places along a side that features are pooled to."""

_BANK = 16_000
_PARTS = {
    "detector": ("encoder_1", "encoder_2", "encoder_3", "encoder_4", "decoder_3", "decoder_1"),
    "restriction_hi": ("encoder_1", "encoder_3"),
}
_LAYERS = [f"{module}/{layer}" for module, layers in _PARTS.items() for layer in layers]


def features(model: Dsr, variables: Mapping, image: jax.Array) -> dict[str, jax.Array]:
    """Outputs of layers by name, float32 [n, GRID, GRID, c], of images uint8 [n, h, w, 3]."""

    def wanted(module: object, method: str) -> bool:
        return method == "__call__" and "/".join(module.path) in _LAYERS

    _, state = model.apply(
        variables, to_float(image), False, capture_intermediates=wanted, mutable="intermediates"
    )
    found = state["intermediates"]
    shape = (len(image), GRID, GRID)
    return {
        layer: jax.image.resize(x.astype(jnp.float32), (*shape, x.shape[-1]), "linear")
        for layer in _LAYERS
        for x in found[layer.split("/")[0]][layer.split("/")[1]]["__call__"]
    }


@jax.jit
def _nearest(queries: jax.Array, bank: jax.Array) -> jax.Array:
    squares = jnp.square(queries).sum(1)[:, None] + jnp.square(bank).sum(1)
    return jnp.sqrt(jnp.maximum((squares - 2 * queries @ bank.T).min(1), 0))


def distances(maps: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Distances [n, h, w] of features [n, h, w, c] to the nearest of good ones [m, h, w, c].

    Each channel is divided by its deviation over good parts.
    """
    bank = good.reshape(-1, good.shape[-1])
    deviation = bank.std(0) + 1e-6
    bank = np.random.default_rng(0).permutation(bank)[:_BANK] / deviation
    return in_batches(
        lambda part: _nearest(part.reshape(-1, part.shape[-1]), bank).reshape(part.shape[:-1]),
        8,
        maps / deviation,
    )


def measure_neighbours(
    model: Dsr, variables: Mapping, images: np.ndarray, good: np.ndarray, defective: np.ndarray
) -> Table:
    """Evaluates the distance to the nearest feature of good images.

    Args:
      model: the network.
      variables: all its variables.
      images: of the test part, uint8 [n, h, w, 3].
      good: good training images, uint8 [m, h, w, 3]; one half is the bank, by the other distances
        are standardised.
      defective: bool [n].

    Returns:
      The table ``neighbours``.
    """
    look = functools.partial(jax.jit(functools.partial(features, model)), variables)
    tested, kept = (in_batches(look, 8, part) for part in (images, good))
    rows = {}
    for layer in _LAYERS:
        bank, aside = kept[layer][::2], kept[layer][1::2]
        maps, of_good = (distances(part, bank) for part in (tested[layer], aside))
        rows[layer] = {
            "AUROC": image_auroc(maps.max((1, 2)), defective),
            "standardised": image_auroc(standardise(maps, of_good).max((1, 2)), defective),
        }
    return Table("neighbours", "image AUROC of the distance to the nearest good feature", rows)
