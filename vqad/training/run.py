"""A whole run: the stages of a configuration one after the other, then the judgement."""

import json
import logging

import jax
from etils import epath
from ml_collections import ConfigDict

from vqad.data.sources import open_source
from vqad.errors import VqadError
from vqad.training import checkpoints
from vqad.training.config import model_from_config, validate
from vqad.training.loop import train_stage
from vqad.training.stages import STAGES

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: str, mode: str = "train") -> None:
    """Trains the stages of a configuration and judges the result, or only judges.

    Args:
      config: the configuration; see ``vqad.training.config.base_config``.
      workdir: folder for checkpoints, logs and the evaluation. A stage that finished there is not
        trained again; one that was interrupted continues.
      mode: ``train`` (then judge, if stage 3 is among the stages) or ``evaluate``.

    Raises:
      VqadError: bad input, found before any long work.
    """
    validate(config)
    root = epath.Path(workdir)
    if root.exists() and not root.is_dir():
        raise VqadError(f"--workdir={workdir}: is a file; give a folder")
    if mode == "evaluate":
        evaluate_run(config, workdir)
        return
    judged = "stage3" in config.stages
    sources = _open_sources(config, judged)
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    except OSError as error:
        raise VqadError(
            f"--workdir={workdir}: cannot be written ({error.strerror}); give another folder"
        ) from error
    logger.info("devices: %s", ", ".join(str(device) for device in jax.devices()))
    model = model_from_config(config)
    for name in config.stages:
        stage = STAGES[name]
        earlier = None
        if stage.needs:
            before = str(root / stage.needs) if stage.needs in config.stages else config.init_from
            earlier, _ = checkpoints.load_weights(before)
        train_stage(config, model, stage, sources[name], workdir, earlier)
    if judged:
        evaluate_run(config, workdir)


def _open_sources(config: ConfigDict, judged: bool) -> dict:
    """Opens, and so checks, everything that the run will read."""
    size, data_dir = tuple(config.image_size), config.data_dir or None
    sources = {}
    if "stage1" in config.stages:
        sources["stage1"] = open_source(config.pictures, "train", None, data_dir=data_dir)
    later = [name for name in config.stages if name != "stage1"]
    if later:
        surface = open_source(config.surface, "train", size, data_dir=data_dir)
        sources.update(dict.fromkeys(later, surface))
    if judged:
        open_source(config.surface, "test", size, data_dir=data_dir)
    if config.init_from:
        checkpoints.find_folder(config.init_from)
    return sources


def evaluate_run(config: ConfigDict, workdir: str) -> None:
    """Judges the newest model of a workdir; see ``vqad.evaluation.evaluate``."""
    from vqad.evaluation.evaluate import evaluate

    evaluate(config, workdir)
