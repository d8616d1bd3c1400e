"""Whether an export says what its model says, on images.

Two programs round differently. Where two codes are equally near to a feature, to rounding, each may
take another; from there on the images differ visibly, and neither is wrong. Where an image has the
same codes in both, its masks must be equal. Where codes differ, each must be a tie: the model is
run again with the export's codes forced in, and there the distance of a feature to the export's
code must exceed that to the nearest one by no more than rounding, and the masks must be equal.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vqad.errors import VqadError
from vqad.interop.export import contents
from vqad.kernels import distances
from vqad.models.dsr import Dsr
from vqad.models.quantizer import Quantized, VectorQuantizer
from vqad.prediction.detector import Detector
from vqad.prediction.inputs import groups
from vqad.prediction.thresholds import Thresholds

MASK_TOLERANCE = 1e-4
"""How far masks and scores may differ, all codes being the same."""

TIE_TOLERANCE = 1e-5
"""How much further a code may be that counts as equally near: the difference of squared distances,
as a share of (|feature| + |code|)^2, which they are rounded in the units of."""

Outputs = Mapping[str, np.ndarray]

_BATCH = 8
_BOOKS = {"quantizer_lo": contents.CODES[::2], "quantizer_hi": contents.CODES[1::2]}


@dataclasses.dataclass
class Figures:
    """What the comparison found."""

    images: int = 0  # how many were compared
    images_with_equal_codes: int = 0  # of how many all codes are equal
    mask_difference: float = 0.0  # largest difference of masks, of images with equal codes
    mask_difference_same_codes: float = 0.0  # of all images, the export's codes forced
    mask_difference_plain: float = 0.0  # the same of all images, as both programs come
    score_difference: float = 0.0  # as ``mask_difference_same_codes``, of scores
    codes: int = 0  # how many codes were compared
    ties: int = 0  # how many of them differ, each a tie
    tie_excess: float = 0.0  # most that one was beyond the nearest, as in ``TIE_TOLERANCE``
    verdicts: int | None = None  # how many images both call defective; None without thresholds
    marks: float | None = None  # share of pixels that one program alone marks
    changed: int | None = None  # how many verdicts differ; of another precision alone


class Model:
    """The model that an export is compared with, as a checkpoint runs it."""

    def __init__(self, trained: Detector) -> None:
        """Puts the weights onto the device; programs are compiled at their first use."""
        self._variables = jax.device_put(trained.variables)
        self._detect, self._forced = _programs(trained.model, contents.usable_limits(trained))

    def __call__(self, images: np.ndarray) -> Outputs:
        """The outputs for images uint8 [n, h, w, 3]; see ``contents.make_detect``."""
        return jax.device_get(self._detect(self._variables, images))

    def with_codes(self, images: np.ndarray, codes: Outputs) -> tuple[Outputs, Outputs]:
        """The outputs with given codes, and how much further than the nearest one each was."""
        return jax.device_get(self._forced(self._variables, images, dict(codes)))


@functools.lru_cache(maxsize=2)
def _programs(model: Dsr, limits: Thresholds | None) -> tuple[Callable, Callable]:
    """Jitted functions of ``Model``, shared by models that differ in their weights alone."""
    detect = contents.make_detect(model, limits)

    def with_codes(variables: Mapping, images: jax.Array, codes: Mapping) -> tuple[dict, dict]:
        waiting = {book: list(names) for book, names in _BOOKS.items()}
        excess = {}

        def force(original: Callable, args: tuple, kwargs: Mapping, context: Any) -> Any:
            module = context.module
            if not isinstance(module, VectorQuantizer) or context.method_name != "__call__":
                return original(*args, **kwargs)
            name, book = waiting[module.name].pop(0), module.codes.value
            excess[name] = _excess(args[0].astype(jnp.float32), book, codes[name])
            values = jnp.take(book, codes[name], axis=0, mode="clip")
            return Quantized(values, codes[name], jnp.zeros(()))  # training alone looks at the last

        with nn.intercept_methods(force):
            return detect(variables, images), excess

    return jax.jit(detect), jax.jit(with_codes)


def _excess(features: jax.Array, table: jax.Array, codes: jax.Array) -> jax.Array:
    """How much further from features [n, h, w, d] given codes are than the nearest ones."""
    nearest = jnp.take(table, distances.nearest_code(features, table), axis=0)
    given = jnp.take(table, codes, axis=0, mode="clip")
    # |f - g|^2 - |f - n|^2, without the rounding of either.
    further = ((nearest - given) * (2 * features - nearest - given)).sum(-1)
    lengths = jnp.linalg.norm(features, axis=-1) + jnp.linalg.norm(given, axis=-1)
    return further / jnp.maximum(jnp.square(lengths), 1e-30)


def compare(
    model: Model, export: Callable[[np.ndarray], Outputs], images: Iterable[np.ndarray], path: str
) -> Figures:
    """Compares an export, loaded again, with its model, on images uint8 [h, w, 3] of its size.

    Raises:
      VqadError: a mask or a score differs by more than ``MASK_TOLERANCE`` where codes are the same,
        a code differs that is no tie, or a verdict differs; messages call the export ``path``.
    """
    figures = Figures()
    marks = pixels = 0
    for here in groups(images, _BATCH):
        batch, n = _padded(np.stack(here)), len(here)
        ours, theirs = ({name: a[:n] for name, a in f(batch).items()} for f in (model, export))
        if ours.keys() != theirs.keys():
            raise _failed(path, f"it says {', '.join(theirs)} and not {', '.join(ours)}")
        differ = {name: ours[name] != theirs[name] for name in contents.CODES}
        equal = ~np.any([d.any((1, 2)) for d in differ.values()], axis=0)
        figures.images += n
        figures.images_with_equal_codes += int(equal.sum())
        figures.codes += sum(d.size for d in differ.values())
        off = np.abs(ours["mask"] - theirs["mask"]).max((1, 2))
        figures.mask_difference_plain = max(figures.mask_difference_plain, float(off.max()))
        figures.mask_difference = max(figures.mask_difference, *map(float, off[equal]), 0.0)
        same = ours
        if not equal.all():
            codes = {name: _padded(theirs[name]) for name in contents.CODES}
            same, excess = jax.tree.map(lambda a, n=n: a[:n], model.with_codes(batch, codes))
            figures.ties += sum(int(d.sum()) for d in differ.values())
            # Also where codes are equal: what is a tie upstream may decide for another code later.
            far = float(np.max([np.abs(a).max() for a in excess.values()]))
            figures.tie_excess = max(figures.tie_excess, far)
            if not far <= TIE_TOLERANCE:
                raise _failed(
                    path,
                    f"a code differs from the model's that is no tie (its distance is {far:.2g} "
                    f"beyond the nearest one's, {TIE_TOLERANCE:g} is rounding)",
                )
        apart = {name: float(np.abs(same[name] - theirs[name]).max()) for name in ("mask", "score")}
        for name, by in apart.items():
            if not by <= MASK_TOLERANCE:
                raise _failed(path, f"a {name} differs by {by:.2g}, {MASK_TOLERANCE:g} is allowed")
        known = figures.mask_difference_same_codes
        figures.mask_difference_same_codes = max(known, apart["mask"])
        figures.score_difference = max(figures.score_difference, apart["score"])
        if "verdict" in ours:
            if (ours["verdict"] != theirs["verdict"]).any():
                raise _failed(path, "a verdict differs from the model's")
            figures.verdicts = (figures.verdicts or 0) + int(ours["verdict"].sum())
            marks += int((ours["marks"] != theirs["marks"]).sum())
            pixels += ours["marks"].size
    figures.marks = marks / pixels if pixels else None
    return figures


def compare_loosely(
    model: Model, export: Callable[[np.ndarray], Outputs], images: Iterable[np.ndarray], path: str
) -> Figures:
    """Compares an export that computes at another precision, where codes differ, with its model.

    Raises:
      VqadError: values that are not finite.
    """
    figures = Figures(verdicts=0)
    for here in groups(images, _BATCH):
        batch, n = _padded(np.stack(here)), len(here)
        ours, theirs = ({name: a[:n] for name, a in f(batch).items()} for f in (model, export))
        apart = {name: float(np.abs(ours[name] - theirs[name]).max()) for name in ("mask", "score")}
        if not np.isfinite(list(apart.values())).all():
            raise _failed(path, "its values are not finite")
        figures.images += n
        figures.mask_difference_plain = max(figures.mask_difference_plain, apart["mask"])
        figures.score_difference = max(figures.score_difference, apart["score"])
        figures.verdicts += int(theirs["verdict"].sum())
        if "verdict" in ours:
            changed = int((ours["verdict"] != theirs["verdict"]).sum())
            figures.changed = (figures.changed or 0) + changed
    return figures


def _padded(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], _BATCH - len(array), axis=0)])


def _failed(path: str, reason: str) -> VqadError:
    return VqadError(f"{path}: not written, the export fails its check: {reason}")
