"""From a folder or an exported file to a trained model in use."""

import dataclasses
import os

from vqad.config.base import fields
from vqad.interop.export import safetensors, stablehlo
from vqad.models.image_shape import check_image_size
from vqad.paths import is_remote
from vqad.prediction.detector import Detector
from vqad.prediction.loading import load_folder


def load(
    path: str | os.PathLike,
    image_size: tuple[int, int] | None = None,
    value_range: tuple[float, float] | None = None,
) -> Detector:
    """Loads a trained model.

    Args:
      path: a run's workdir, the folder of its stage 3, imported weights of all parts, or a file
        that ``vqad export`` wrote as StableHLO or safetensors.
      image_size: height and width at which the networks see images; those of training if None
        (256 x 256 for imported weights). A StableHLO export works at one size only.
      value_range: the numbers of black and white in pictures of more than 8 bits, as (0, 4095) of a
        sensor of 12 bits; those of training or calibration if None.

    Returns:
      The model, with the thresholds that ``vqad calibrate`` left there. That of a StableHLO export
      has neither ``model`` nor ``variables``, and cannot ``reconstruct``.

    Raises:
      VqadError: no whole model there, or a damaged one; a size that the networks do not take.

    Examples:
      >>> import vqad
      >>> model = vqad.load("runs/demo")
      >>> model.image_size
      (64, 64)
    """
    path = os.path.expanduser(path)
    if value_range is not None:
        fields()["value_range"]("value_range", value_range)
        detector = load(path, image_size)
        detector.value_range = (value_range[0], value_range[1])
        return detector
    if is_remote(path) or not os.path.exists(path) or os.path.isdir(path):
        detector = load_folder(path)
    elif path.endswith(".safetensors"):
        detector = safetensors.read(path)
    else:
        return stablehlo.load(path, image_size)
    if image_size is None:
        return detector
    height, width = image_size
    check_image_size((height, width), "image_size")
    return dataclasses.replace(detector, image_size=(height, width))
