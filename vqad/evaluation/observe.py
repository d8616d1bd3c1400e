"""Learning curves: figures of images that are not trained on, along one run of a stage."""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vqad.config import where_data_is
from vqad.data.findings import NoTestSplit
from vqad.data.layouts import GOOD
from vqad.data.pipeline import Batch, evaluation_batches
from vqad.data.sources import Source, open_source
from vqad.errors import VqadError
from vqad.evaluation.bands import band_errors
from vqad.evaluation.predictions import evaluate_predictions
from vqad.models.dsr import Dsr
from vqad.prediction.jitted import prediction
from vqad.stages.stage import Stage

logger = logging.getLogger(__name__)

Observe = Callable[[Mapping], Mapping[str, float]]

GOOD_IMAGES = 64
"""Good test images that the loss and the errors by band are taken of, at most."""

_FIGURES = ("image_auroc", "image_ap", "pixel_ap", "pixel_aupro", "pixel_aupimo")


def observer(config: ConfigDict, model: Dsr, stage: Stage) -> Observe | None:
    """Builds what ``config.evaluation.every_steps`` asks for.

    It is a function of the variables of all modules so far to float figures by name: the stage's
    metrics on good test images with fixed draws, the errors of I_gen and I_spc by frequency band
    and, once there is a detector and the test split has defects, the figures of all test images by
    M or M_up. None, with a warning, without a test split.
    """
    if not config.surface:
        logger.warning("warning: config.evaluation.every_steps: no config.surface to look at")
        return None
    settings, size = config[stage.name].to_dict(), config.evaluation.batch_size
    try:
        source, has_defects = _test_images(config)
    except VqadError as error:
        logger.warning("warning: %s; no figures along %s", error, stage.name)
        return None

    def batches() -> Iterator[Batch]:
        return evaluation_batches(source, batch_size=size)

    good = _good_images(batches(), size)

    def metrics_of(variables: Mapping, image: jax.Array) -> dict:
        inputs = stage.draw(jax.random.key(0), image.astype(jnp.float32) / 255, settings)
        return stage.loss(model, variables, inputs, settings)[1].metrics

    def images_of(variables: Mapping, image: jax.Array) -> dict:
        net = model.bind(variables)
        image = image.astype(jnp.float32) / 255
        general, encoding = net.reconstruct(image)
        found = {"I": image, "I_gen": general}
        if "object_decoder" in stage.modules:
            restored = net.restore(encoding.lo.values, encoding.hi.values)
            found["I_spc"] = net.decode_specific(restored)
        return found

    metrics, images, predict = map(jax.jit, (metrics_of, images_of, prediction(model)))

    def observe(variables: Mapping) -> dict[str, float]:
        rows = [jax.device_get(metrics(variables, image)) for image in good]
        figures = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        drawn = [jax.device_get(images(variables, image)) for image in good]
        for name in ("I_gen", "I_spc"):
            if name in drawn[0]:
                pairs = (np.concatenate([d[k] for d in drawn]) for k in (name, "I"))
                for band, error in band_errors(*pairs).items():
                    figures[f"{name} {band}"] = error
        if has_defects and "detector" in stage.modules:
            names = [source.names(i) for i in range(len(source))]
            of_images = functools.partial(predict, variables)
            found = evaluate_predictions(
                of_images, batches(), source.classes, names, k=1, resamples=1
            )
            figures |= {name: getattr(found.overall, name) for name in _FIGURES}
        return {name: value for name, value in figures.items() if value is not None}

    return observe


def _test_images(config: ConfigDict) -> tuple[Source, bool]:
    """The surface's test split, and whether it holds defects."""
    size = tuple(config.image_size)
    try:
        return open_source(config.surface, "test", size, **where_data_is(config)), True
    except NoTestSplit:
        good = f"{config.surface.rstrip('/')}/test/{GOOD}"
        how = {"tree": True, "follow_links": config.follow_links}
        how["value_range"] = tuple(config.value_range) or None
        return open_source(good, "train", size, **how), False


def _good_images(batches: Iterator[Batch], size: int) -> list[np.ndarray]:
    """The first good images in batches of ``size``, at most ``GOOD_IMAGES``; at least one batch."""
    images: list[np.ndarray] = []
    for batch in batches:
        rows = np.flatnonzero(batch["valid"] & (batch.get("label", np.array(0)) == 0))
        images.extend(batch["image"][rows])
        if len(images) >= GOOD_IMAGES:
            break
    whole = max(1, min(len(images), GOOD_IMAGES) // size)
    images = (images * size)[: whole * size]
    return [np.stack(images[i : i + size]) for i in range(0, len(images), size)]
