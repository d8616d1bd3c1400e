"""A trained model as network and variables: for what a detector's scores and masks do not show."""

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from vqad.data.decode import resize_image
from vqad.models.dsr import Dsr
from vqad.prediction.loading import Trained, read_trained
from vqad.prediction.pictures import Picture, as_picture


@dataclasses.dataclass(frozen=True)
class Network:
    """A network with its variables. ``load_network`` makes one of a folder.

    Attributes:
      model: the network.
      variables: all its variables, ``params`` and ``codebook``.
      image_size: height and width at which it was trained (256 x 256 for imported weights).
      predict: the jitted prediction; see ``make_predict``.
    """

    model: Dsr
    variables: dict
    image_size: tuple[int, int]
    predict: Callable[[np.ndarray], dict[str, np.ndarray]]

    def reconstruct(self, image: Picture) -> tuple[np.ndarray, np.ndarray]:
        """I_gen and I_spc of one image, resized to ``image_size``.

        Args:
          image: a path or an array, as for ``Detector.predict``.

        Returns:
          Both uint8 [h, w, 3], of ``image_size``.

        Raises:
          VqadError: the picture cannot be read, or is an array of another kind.
        """
        resized = resize_image(as_picture(image), self.image_size)
        found = self.predict(resized[None])
        general, specific = (
            np.round(255 * np.clip(found[name][0], 0, 1)).astype(np.uint8)
            for name in ("general", "specific")
        )
        return general, specific


def load_network(path: str | os.PathLike) -> Network:
    """Loads a trained model.

    Args:
      path: a run's workdir, the folder of its stage 3, imported weights of all parts, or a file
        that ``vqad export`` wrote as safetensors.

    Returns:
      The network.

    Raises:
      VqadError: no whole model there, or a damaged one.
    """
    return network_of(read_trained(os.fspath(path)))


def network_of(trained: Trained) -> Network:
    """What ``load_network`` returns, of a model that was read already."""
    size = tuple(trained.image_size)
    return Network(trained.model, trained.variables, size, trained.predict)
