"""Pictures of any size through a network of one size: resized, or cut into tiles and joined."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from vqad.data.decode import resize_image
from vqad.errors import VqadError
from vqad.prediction import tiles
from vqad.prediction.inputs import groups
from vqad.prediction.jitted import Predict
from vqad.prediction.pictures import resize_map


class Scored(NamedTuple):
    """A picture's score, its map float32 [h, w], and the largest value before that is resized."""

    score: float
    map: np.ndarray
    highest: float


def score(
    predict: Predict,
    pictures: Iterable[np.ndarray],
    size: tuple[int, int],
    overlap: int | None,
    batch_size: int,
    name: str,
) -> Iterator[Scored]:
    """Scores pictures uint8 [h, w, 3] in turn; no more of them are kept than are in a batch.

    Larger ones than ``size``, which ``predict`` takes, are cut into tiles with that overlap, or
    resized if None. The last batch is padded. Messages call the model ``name``.

    Raises:
      VqadError: a bad batch size, or what the network says is not finite.
    """
    if batch_size < 1:
        raise VqadError(f"batch_size: {batch_size}; must be at least 1")

    def seen(picture: np.ndarray) -> Iterable[np.ndarray]:
        """What the network sees of a picture: all of it, resized, or its tiles."""
        places = tiles.places(picture.shape[:2], size, overlap)
        return tiles.cut(picture, places, size) if places else [resize_image(picture, size)]

    ahead, pictures = itertools.tee(pictures)
    parts = itertools.chain.from_iterable(map(seen, ahead))
    found = _in_batches(predict, parts, batch_size, name)
    for picture in pictures:
        shape = picture.shape[:2]
        places = tiles.places(shape, size, overlap)
        if not places:
            value, values = next(found)
            yield Scored(value, resize_map(values, shape), values.max())
            continue
        whole, scores = tiles.Blend(np.maximum(shape, size), size), []
        for place, (value, values) in zip(places, found, strict=False):
            scores.append(value)
            whole.add(values, *place)
        joined = whole.joined()[: shape[0], : shape[1]]
        yield Scored(max(scores), joined, joined.max())


def _in_batches(
    predict: Predict, parts: Iterable[np.ndarray], size: int, name: str
) -> Iterator[tuple[float, np.ndarray]]:
    for here in groups(parts, size):
        found = predict(np.stack([*here, *[here[-1]] * (size - len(here))]))
        scores, maps = (np.asarray(found[key])[: len(here)] for key in ("score", "mask"))
        if not (np.isfinite(scores).all() and np.isfinite(maps).all()):
            raise VqadError(
                f"{name}: its predictions are not finite; its weights are damaged, or training "
                "diverged"
            )
        yield from zip(scores, maps, strict=True)
