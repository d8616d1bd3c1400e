"""Judging a trained model on a test split: figures, table and pictures in the workdir."""

import functools
import logging
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from vqad.data.pipeline import evaluation_batches
from vqad.data.sources import open_source
from vqad.errors import VqadError
from vqad.evaluation.judge import Judgement, judge
from vqad.evaluation.report import contact_sheet, format_table, write_json
from vqad.models.compiler import compiler_options
from vqad.models.dsr import Dsr
from vqad.training import checkpoints
from vqad.training.config import model_from_config

logger = logging.getLogger(__name__)


def make_predict(model: Dsr, variables: Mapping) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Builds a jitted prediction function.

    Args:
      model: the network.
      variables: all its variables.

    Returns:
      A function of images uint8 [n, h, w, 3] to NumPy arrays: ``score`` [n], ``mask`` [n, h, w]
      (channel 1 of M_up), ``general`` and ``specific`` [n, h, w, 3], float32.
    """

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def apply(variables: Mapping, image: jax.Array) -> dict[str, jax.Array]:
        found = model.apply(variables, image.astype(jnp.float32) / 255)
        return {
            "score": found.score,
            "mask": found.upsampled_mask[..., 1],
            "general": found.general,
            "specific": found.specific,
        }

    variables = jax.device_put(variables)
    return lambda image: jax.device_get(apply(variables, image))


def evaluate(config: ConfigDict, workdir: str) -> Judgement:
    """Judges the newest stage-3 model of a workdir on the test split of ``config.surface``.

    Writes ``evaluation.json`` and ``contact_sheet.png`` into the workdir and logs the table.

    Args:
      config: the run's configuration.
      workdir: the run's folder, or one with imported weights of all parts.

    Returns:
      The judgement.

    Raises:
      VqadError: no whole model in the workdir, a checkpoint of another width, bad test data.
    """
    if not config.surface:
        raise VqadError("config.surface: empty; give the folder or tfds:<name> to judge on")
    folder = checkpoints.find_folder(workdir)
    variables, _ = checkpoints.load_weights(folder)
    model = model_from_config(config)
    image = jnp.zeros((1, *config.image_size, 3))
    init = jax.eval_shape(model.init, jax.random.key(0), image)
    shapes = {"params": init["params"], "codebook": init["codebook"]}
    variables = checkpoints.merge(shapes, variables, folder)
    _reinitialize(config, model, variables)
    source = open_source(
        config.surface, "test", tuple(config.image_size), data_dir=config.data_dir or None
    )
    names = [source.names(i) for i in range(len(source))]
    judgement = judge(
        make_predict(model, variables),
        evaluation_batches(source, batch_size=config.evaluation.batch_size),
        source.classes,
        names,
        k=config.evaluation.cases,
    )
    about = {
        "checkpoint": f"{folder}, step {checkpoints.latest_step(folder)}",
        "surface": config.surface,
        "image_size": list(config.image_size),
        "seed": config.seed,
        "reinitialized": config.evaluation.reinitialize,
    }
    root = epath.Path(workdir)
    write_json(judgement, root / "evaluation.json", about)
    contact_sheet(judgement.cases, root / "contact_sheet.png")
    logger.info("\n%s", format_table(judgement))
    logger.info("written: %s, %s", root / "evaluation.json", root / "contact_sheet.png")
    return judgement


def _reinitialize(config: ConfigDict, model: Dsr, variables: dict) -> None:
    """Replaces the parameters of the modules named by ``evaluation.reinitialize``."""
    names = [name.strip() for name in config.evaluation.reinitialize.split(",") if name.strip()]
    if not names:
        return
    unknown = [name for name in names if name not in variables["params"]]
    if unknown:
        raise VqadError(
            f"config.evaluation.reinitialize: no module {', '.join(unknown)}; "
            f"there are {', '.join(variables['params'])}"
        )
    image = jnp.zeros((1, 32, 32, 3))
    fresh = jax.jit(lambda key: {n: model.init(key, image)["params"][n] for n in names})
    variables["params"].update(fresh(jax.random.key(config.seed)))
