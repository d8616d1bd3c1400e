"""What pictures could show a detector that knew the defects: retrained on half of the test part."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.limits.figures import image_auroc, local_mean, pixel_figures
from benchmarks.limits.links import in_batches
from benchmarks.limits.surface import LabelledImages
from benchmarks.limits.tables import Table
from vqad.models import initializers
from vqad.models.dsr import Dsr
from vqad.models.unet import UNet
from vqad.stages.losses import focal_loss
from vqad.training.optimizer import make_optimizer

Pair = tuple[np.ndarray, np.ndarray]

BATCH = 8
_FIGURES = ("AP", "AUROC")


def halves(class_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits images at random into two halves with a like share of each class.

    Args:
      class_ids: int [n].

    Returns:
      Their indices, rising. Of two or more good images each half has one, of defective ones too.
    """
    order = np.random.default_rng(0).permutation(len(class_ids))
    order = order[np.argsort(class_ids[order], kind="stable")]
    good = int((class_ids == 0).sum())
    parts = order[:good], order[good:]
    return tuple(np.sort(np.concatenate([part[half::2] for part in parts])) for half in (0, 1))


class Detectors:
    """Detectors of a model's architecture, trained on pairs of pictures and masks.

    All are trained by the same compiled step, from the same weights.

    Attributes:
      steps: of each training.
      start: weights to start from; fresh ones if None.
    """

    def __init__(
        self,
        model: Dsr,
        steps: int,
        start: optax.Params | None = None,
        learning_rate: float = 1e-3,
    ) -> None:
        self.steps, self.start = steps, start
        kernel_init = initializers.normal(0.02)
        self._unet = UNet(model.unet_width, kernel_init=kernel_init, dtype=model.dtype)
        self._optimizer = make_optimizer(
            {
                "learning_rate": learning_rate,
                "steps": steps,
                "schedule": "cosine",
                "warmup_steps": steps // 10,
                "clip_norm": 1.0,
                "average_decay": 0.0,
            }
        )
        self._step = jax.jit(self._train_step, donate_argnums=0)
        self._look = jax.jit(self._maps)

    def train(self, pair: Pair, masks: np.ndarray, rows: np.ndarray) -> optax.Params:
        """Trains one.

        A batch has as many defective as good images, and is mirrored at random along both axes.

        Args:
          pair: two pictures of each image, float32 [n, h, w, 3].
          masks: 0 and 1 [n, h, w].
          rows: indices of the images to train on, good and defective ones.

        Returns:
          The weights.
        """
        rng = np.random.default_rng(0)
        if self.start is None:
            key = initializers.host_key(jax.random.key(0))
            params = jax.jit(self._unet.init)(key, jnp.zeros((1, *masks.shape[1:], 6)))
        else:
            params = jax.tree.map(jnp.array, self.start)  # each training uses its own copy up
        state = params, self._optimizer.init(params)
        defective = masks[rows].any((1, 2))
        kinds = rows[~defective], rows[defective]
        for _ in range(self.steps):
            chosen = np.concatenate([rng.choice(kind, BATCH // 2) for kind in kinds])
            flips = tuple(slice(None, None, rng.choice((1, -1))) for _ in range(2))
            batch = [a[chosen][:, *flips] for a in (*pair, masks[..., None].astype(np.float32))]
            state = self._step(state, *batch)
        return state[0]

    def look(self, params: optax.Params, pair: Pair, rows: np.ndarray) -> np.ndarray:
        """Channel 1 of the masks of the images of these rows, float32 [rows, h, w]."""
        return in_batches(functools.partial(self._look, params), BATCH, *(a[rows] for a in pair))

    def _maps(self, params: optax.Params, a: jax.Array, b: jax.Array) -> jax.Array:
        return self._probabilities(params, a, b)[..., 1]

    def _probabilities(self, params: optax.Params, a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.nn.softmax(self._unet.apply(params, jnp.concatenate([a, b], axis=-1)))

    def _train_step(
        self, state: tuple, a: jax.Array, b: jax.Array, mask: jax.Array
    ) -> tuple[optax.Params, optax.OptState]:
        params, optimizer_state = state
        gradients = jax.grad(lambda p: focal_loss(self._probabilities(p, a, b), mask))(params)
        updates, optimizer_state = self._optimizer.update(gradients, optimizer_state, params)
        return optax.apply_updates(params, updates), optimizer_state


def measure_ceilings(
    model: Dsr,
    pairs: Mapping[str, Pair],
    own: np.ndarray,
    part: LabelledImages,
    steps: int,
    start: optax.Params | None = None,
) -> Table:
    """Trains a detector of each pair on each half and evaluates it on the other one.

    Args:
      model: the network.
      pairs: by name, two pictures of each image in the detector's order.
      own: M of the model itself, float32 [n, h, w], evaluated on the same halves.
      part: the test part of n images.
      steps: of each training.
      start: weights to start from, as those of the model's detector; fresh ones if None.

    Returns:
      The table ``ceilings``.
    """
    detectors = Detectors(model, steps, start)
    both = halves(part.class_ids)
    window = model.score_window
    rows = {"the model": _row([_figures(own[half], part, half, window) for half in both])}
    for name, pair in pairs.items():
        found = []
        for training, evaluated in (both, both[::-1]):
            params = detectors.train(pair, part.masks, training)
            maps = detectors.look(params, pair, evaluated)
            found.append(_figures(maps, part, evaluated, window))
        rows[name] = _row(found)
    return Table("ceilings", f"detectors retrained on real defects, {steps} steps", rows)


def _figures(
    maps: np.ndarray, part: LabelledImages, rows: np.ndarray, window: int
) -> tuple[float, float]:
    scores = local_mean(maps, window).max((1, 2))
    return (
        pixel_figures(maps, part.masks[rows])["pixel_ap"],
        image_auroc(scores, part.defective[rows]),
    )


def _row(found: list[tuple[float, float]]) -> dict[str, float]:
    """Means over the halves, then each half."""
    row = dict(zip(_FIGURES, np.mean(found, axis=0).tolist(), strict=True))
    for half, values in enumerate(found, 1):
        row |= {f"{name} half {half}": v for name, v in zip(_FIGURES, values, strict=True)}
    return row
