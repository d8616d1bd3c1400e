"""From a folder or an exported file to a detector."""

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vqad import checkpoints
from vqad.checkpoints.digest import digest
from vqad.config import base_config, check_model, model_from_config
from vqad.errors import VqadError
from vqad.models.dsr import Dsr
from vqad.models.image_shape import check_image_size
from vqad.paths import is_remote
from vqad.prediction import thresholds
from vqad.prediction.detector import Detector
from vqad.prediction.jitted import make_predict, whole_variables
from vqad.prediction.thresholds import Thresholds

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained model and what is known of it.

    Attributes:
      model: the network.
      variables: all its variables, NumPy arrays.
      image_size: height and width of the images that it was trained on.
      limits: its thresholds, or None.
      metadata: what the checkpoint says of its training, with ``model``, the fields of ``Dsr``,
        ``step`` and, of a folder, ``folder`` and ``weights``, the digest of its variables.
    """

    model: Dsr
    variables: Mapping
    image_size: tuple[int, int]
    limits: Thresholds | None
    metadata: Mapping[str, Any]

    @functools.cached_property
    def predict(self) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """See ``make_predict``; compiled once for all who use it."""
        return make_predict(self.model, self.variables)


def load(path: str | os.PathLike, image_size: tuple[int, int] | None = None) -> Detector:
    """Loads a trained detector.

    Args:
      path: a run's workdir, the folder of its stage 3, imported weights of all parts, or a file
        that ``vqad export`` wrote as StableHLO or safetensors.
      image_size: height and width at which the networks see images; those of training if None
        (256 x 256 for imported weights). A StableHLO export works at one size only.

    Returns:
      The detector, with the thresholds that ``vqad calibrate`` left there.

    Raises:
      VqadError: no whole model there, or a damaged one.

    Example:
      >>> import vqad
      >>> model = vqad.load("runs/demo")
      >>> model.image_size
      (64, 64)
    """
    path = os.fspath(path)
    if _is_file(path) and not path.endswith(".safetensors"):
        from vqad.interop.export import stablehlo

        return stablehlo.load(path, image_size)
    return detector_of(read_trained(path), image_size)


def detector_of(trained: Trained, image_size: tuple[int, int] | None = None) -> Detector:
    """What ``load`` returns, of a model that was read already.

    Args:
      trained: the model.
      image_size: as for ``load``.

    Raises:
      VqadError: a size that the networks do not take.
    """
    size = tuple(trained.image_size if image_size is None else image_size)
    check_image_size(size, "image_size")
    return Detector(trained.predict, size, trained.metadata, trained.limits)


def read_trained(path: str) -> Trained:
    """Reads a model from a folder or from a safetensors file.

    Raises:
      VqadError: no whole model there, or a damaged one.
    """
    if _is_file(path):
        if not path.endswith(".safetensors"):
            raise VqadError(
                f"{path}: neither a folder nor a .safetensors file, so that there is no network to "
                "look into; give the run's workdir or a safetensors export"
            )
        from vqad.interop.export import safetensors

        return safetensors.read(path)
    folder = checkpoints.find_folder(path)
    variables, metadata = checkpoints.load_weights(folder)
    metadata = {**metadata, "folder": folder, "weights": digest(variables)}
    model, size = described(metadata, folder)
    variables = whole_variables(model, variables, folder)
    return Trained(model, variables, size, _limits(folder, metadata), metadata)


def _is_file(path: str) -> bool:
    """Whether it is something else than a folder; exports are read from this machine only."""
    return not is_remote(path) and os.path.exists(path) and not os.path.isdir(path)


def _limits(folder: str, metadata: Mapping[str, Any]) -> Thresholds | None:
    limits = thresholds.read(folder)
    known = limits is not None and limits.weights in (None, metadata["weights"])
    if limits is None or (known and limits.step == metadata["step"]):
        return limits
    logger.warning(
        "warning: %s: thresholds of %s are not used, the model is of step %d; run vqad calibrate "
        "again",
        folder,
        "other weights" if limits.step == metadata["step"] else f"step {limits.step}",
        metadata["step"],
    )
    return None


def described(metadata: Mapping[str, Any], folder: str) -> tuple[Dsr, tuple[int, int]]:
    """The network that a checkpoint's metadata describe, and the size of its images.

    Raises:
      VqadError: the metadata describe none.
    """
    config = base_config()
    try:
        config.model.update({**metadata["model"]})
        if "config" in metadata:
            config.image_size = tuple(metadata["config"]["image_size"])
        check_model(config.model)
        check_image_size(config.image_size, "image_size")
        return model_from_config(config), config.image_size
    except (KeyError, TypeError, ValueError) as error:
        raise VqadError(
            f"{folder}: its metadata do not describe a model ({error}); give another checkpoint"
        ) from error
