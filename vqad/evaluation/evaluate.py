"""Evaluating a trained model on a test split: figures, table and pictures in the workdir."""

import logging
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from vqad import checkpoints
from vqad.config import model_from_config, where_data_is
from vqad.data.findings import Finding
from vqad.data.pipeline import evaluation_batches
from vqad.data.source import Source
from vqad.data.sources import open_source
from vqad.evaluation.cases import contact_sheet
from vqad.evaluation.predictions import Evaluation, evaluate_predictions
from vqad.evaluation.report import format_table, write_json
from vqad.models.image_shape import SIDE_MULTIPLE
from vqad.prediction.jitted import Predict, make_predict, shardings_for
from vqad.prediction.results import read_json
from vqad.stages.stage3 import STAGE3
from vqad.training.initialization import fresh_variables, variable_shapes
from vqad.training.resume import check_units

logger = logging.getLogger(__name__)

# Raised when there are other figures: what an older version evaluated is evaluated anew.
FIGURES_VERSION = 4


def check_split(config: ConfigDict) -> None:
    """Raises a VqadError for what devices cannot share as ``config.evaluation.split`` says."""
    shardings, evaluation = shardings_for(config.evaluation.split), config.evaluation
    if evaluation.split == "images":
        shardings.check_divides("config.evaluation.batch_size", evaluation.batch_size)
    elif evaluation.split == "height":
        shardings.check_divides("config.image_size", config.image_size[0], SIDE_MULTIPLE)


def evaluate(
    config: ConfigDict, workdir: str, folder: str, told: set[Finding] | None = None
) -> Evaluation:
    """Evaluates the newest model of a checkpoint folder on the test split of ``config.surface``.

    Writes ``contact_sheet.png`` and then ``evaluation.json`` into the workdir, called
    ``..._without_<modules>`` where ``config.evaluation.reinitialize`` names modules, and logs the
    table. What was ``told`` of the images is not told again. Raises a VqadError if there is no
    whole model, or it was trained otherwise, for bad test data, and for sizes that the devices
    cannot share.
    """
    check_split(config)
    variables, metadata = checkpoints.load_weights(folder)
    check_units(config, variables, metadata, folder)
    model = model_from_config(config)
    variables = checkpoints.merge(variable_shapes(model, STAGE3), variables, folder)
    if names := _reinitialized(config):
        fresh = fresh_variables(model, STAGE3, jax.random.key(config.seed))["params"]
        variables["params"].update({name: fresh[name] for name in names})
    source = open_source(
        config.surface,
        "test",
        tuple(config.image_size),
        **where_data_is(config),
        cache_bytes=0,  # each image is read once
        told=told,
    )
    evaluation = evaluate_source(
        make_predict(model, variables, config.evaluation.split),
        source,
        config.evaluation.batch_size,
        config.evaluation.cases,
    )
    sheet, figures = _files(config, workdir)
    contact_sheet(evaluation.cases, sheet)
    write_json(evaluation, figures, _about(config, folder, metadata["step"]))
    logger.info("\n%s", format_table(evaluation))
    logger.info("written: %s, %s", figures, sheet)
    return evaluation


def evaluate_source(predict: Predict, source: Source, batch_size: int, cases: int) -> Evaluation:
    """Evaluates predictions on an opened test split; see ``evaluate_predictions``."""
    return evaluate_predictions(
        predict,
        evaluation_batches(source, batch_size=batch_size),
        source.classes,
        [source.names(i) for i in range(len(source))],
        k=cases,
    )


def is_evaluated(config: ConfigDict, workdir: str, folder: str) -> bool:
    """Whether the workdir holds the evaluation that ``evaluate`` would make."""
    try:
        found = read_json(_files(config, workdir)[1])
    except ValueError:  # nothing, or not what `evaluate` writes
        return False
    about = _about(config, folder, checkpoints.latest_step(folder))
    return isinstance(found, dict) and found.get("about") == about


def _reinitialized(config: ConfigDict) -> list[str]:
    return [name for name in config.evaluation.reinitialize.split(",") if name]


def _files(config: ConfigDict, workdir: str) -> tuple[epath.Path, epath.Path]:
    """Where the contact sheet and the figures go."""
    without = "".join(f"_{name}" for name in _reinitialized(config))
    suffix = f"_without{without}" if without else ""
    folder = epath.Path(workdir)
    return folder / f"contact_sheet{suffix}.png", folder / f"evaluation{suffix}.json"


def _about(config: ConfigDict, folder: str, step: int | None) -> dict[str, Any]:
    scaled = {"value_range": list(config.value_range)} if config.value_range else {}
    return scaled | {
        "checkpoint": str(folder),
        "step": step,
        "surface": config.surface,
        "image_size": list(config.image_size),
        "score_window": config.model.score_window,
        "seed": config.seed,
        "reinitialized": config.evaluation.reinitialize,
        "figures": FIGURES_VERSION,
    }
