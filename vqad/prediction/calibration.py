"""Thresholds of a run's own: by the good images that it held out of training."""

import dataclasses
import logging
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from vqad.config import where_data_is
from vqad.data.findings import Finding
from vqad.data.sources import open_source
from vqad.prediction import thresholds
from vqad.prediction.detector import Detector
from vqad.prediction.loading import load_folder
from vqad.training.resume import check_held_out

logger = logging.getLogger(__name__)


def calibrate(config: ConfigDict, folder: str, told: set[Finding] | None = None) -> None:
    """Sets the thresholds of a run's checkpoint folder, by held-out images, if no others set any.

    What was ``told`` of the images is not told again. Raises a VqadError if the images cannot be
    read or are others than training held out.
    """
    share, rate = config.calibration.held_out, config.calibration.false_alarms
    if not share:
        return
    detector = dataclasses.replace(load_folder(folder), split=config.evaluation.split)
    limits = detector.thresholds
    if limits is not None and (not limits.held_out or limits.rate == rate):
        return
    pictures = held_out_pictures(config, detector, told)
    limits = detector.calibrate(pictures, rate, batch_size=config.evaluation.batch_size)
    path = thresholds.write(folder, dataclasses.replace(limits, held_out=True))
    logger.info(
        "thresholds by %d held-out good images: score %.6g, pixel %.6g for at most %g of false "
        "alarms; written: %s",
        limits.images,
        limits.score,
        limits.pixel,
        rate,
        path,
    )


def held_out_pictures(
    config: ConfigDict, detector: Detector, told: set[Finding] | None = None
) -> Iterator[np.ndarray]:
    """The good images, uint8 [h, w, 3], that the training of a run's model held out.

    What was ``told`` of them is not told again. Raises a VqadError if they cannot be read, or are
    others than training held out.
    """
    share = config.calibration.held_out
    source = open_source(
        config.surface,
        "train",
        tuple(config.image_size),
        labelled=config.labelled_share > 0,
        told=told,
        **where_data_is(config),
    )
    kept, held = source.hold_out(share)
    metadata = detector.metadata
    check_held_out(share, kept.fingerprint(), metadata, metadata["folder"])
    return (held[i]["image"] for i in range(len(held)))
