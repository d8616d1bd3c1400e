"""``vqad.train`` and ``vqad.evaluate``: a run from Python, as ``vqad train`` makes it."""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from vqad.commands.flags import load_config, with_overrides
from vqad.commands.messages import shown
from vqad.commands.train import FOLDER_CONFIG, default_workdir
from vqad.data.sources import open_source
from vqad.errors import VqadError
from vqad.evaluation.evaluate import evaluate_source
from vqad.evaluation.predictions import Evaluation
from vqad.interop.load import load
from vqad.paths import is_remote
from vqad.prediction.detector import Detector
from vqad.run import run
from vqad.stages import STAGES
from vqad.training.interruption import Interruption


def train(
    config: str | os.PathLike[str] | ConfigDict,
    workdir: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    verbose: bool = True,
    **fields: Any,
) -> Detector | None:
    """Trains the stages of a configuration, evaluates and calibrates, as ``vqad train`` does.

    A stage that finished in the workdir is not trained again, one that was interrupted goes on:
    the same call continues a run, and of a finished one loads the model.

    Args:
      config: a ConfigDict, as of ``vqad.config.base_config``; the name of a configuration of the
        package (``demo``, ``small``, ``pretrain:small``, ``stage1``, ``stage2``, ``stage3``) or a
        file that makes one; or a folder of good parts of a surface, which means ``small`` with
        that folder as ``surface`` and wants ``pictures``, any pictures for stage 1.
      workdir: folder of the run; of a folder of good parts ``runs/<its name>`` if None.
      overrides: other values by field, as ``{"stage2.steps": 1000}``.
      verbose: whether to print what the run tells, unless the program takes the messages of the
        logger ``vqad`` itself.
      **fields: the same by keywords: ``surface="tiles", stage2={"steps": 1000}``.

    Returns:
      The trained model, as ``vqad.load(workdir)`` gives it: its ``predict`` takes pictures of any
      size and gives scores float32 [n] and masks float32 [n, h, w] in [0, 1]. None where the
      stages do not complete the network, as ``stage1`` alone.

    Raises:
      VqadError: bad input, found before any long work; or training diverged.
      Interrupted: SIGINT, as a notebook's stop button sends it, or SIGTERM came in the main thread;
        the step was finished and saved, and the same call goes on. Not an ``Exception``, like
        ``KeyboardInterrupt``.

    Examples:
      ```python
      import vqad

      model = vqad.train("demo", "runs/demo")  # 6 minutes on two cores, unless it is trained
      found = model.predict(["pictures/1.png", "pictures/2.png"])  # two of 96 x 80
      print(found.scores.shape, found.masks.shape)  # (2,) (2, 96, 80)
      ```
    """
    given = {**(overrides or {}), **fields}
    if not isinstance(config, ConfigDict):
        name = os.path.expanduser(config)
        if is_remote(name) or epath.Path(name).is_dir():
            workdir = default_workdir(name) if workdir is None else workdir
            given, name = {"surface": name, **given}, FOLDER_CONFIG
        config = load_config([f"--config={name}"])
    config = with_overrides(config, given)
    if workdir is None:
        raise VqadError("workdir: missing; give the folder of the run")
    folder = os.fspath(workdir)
    interruption = Interruption()
    with contextlib.ExitStack() as stack:
        if verbose and not logging.getLogger("vqad").isEnabledFor(logging.INFO):
            stack.enter_context(shown(sys.stdout, "%(asctime)s %(message)s"))
        if threading.current_thread() is threading.main_thread():  # which alone can take signals
            stack.enter_context(interruption.heeded())
        run(config, folder, interruption=interruption)
    return load(folder) if STAGES[config.stages[-1]].completes else None


def evaluate(
    model: Detector | str | os.PathLike[str],
    surface: str | os.PathLike[str],
    *,
    batch_size: int = 8,
    cases: int = 4,
    data_dir: str | None = None,
) -> Evaluation:
    """Evaluates a trained model on a surface's test split; writes nothing.

    Images are resized to ``model.image_size``. ``vqad evaluate`` gives the same figures of the
    surface that a run was trained on, and writes them and a contact sheet into the workdir.

    Args:
      model: what ``vqad.train`` or ``vqad.load`` gave, or what ``vqad.load`` takes.
      surface: a folder with ``test/good``, ``test/<kind of defect>`` and ``ground_truth``, or
        ``tfds:<name>[/<config>]`` of a prepared data set.
      batch_size: images computed at a time.
      cases: how many of the most telling images of each kind to keep.
      data_dir: where TFDS keeps prepared data; its own default if None.

    Returns:
      The evaluation: ``overall`` and ``classes``, by kind of defect, hold figures in [0, 1] with
      intervals of 95 %, ``cases`` images with what was predicted of them.

    Raises:
      VqadError: no whole model, a StableHLO export (its program draws no I_gen), no test split or
        bad test data.

    Examples:
      >>> import vqad
      >>> evaluation = vqad.evaluate("runs/demo", "tiles")
      >>> sorted(evaluation.classes), 0 <= evaluation.overall.image_auroc <= 1
      (['dent', 'pit', 'scratch', 'stain'], True)
      >>> case = evaluation.cases["missed"][0]
      >>> case.image.shape, case.mask.shape, case.mask.dtype
      ((64, 64, 3), (64, 64), dtype('float32'))
    """
    for name, value in (("batch_size", batch_size), ("cases", cases)):
        if value < 1:
            raise VqadError(f"{name}: {value}; give at least 1")
    detector = model if isinstance(model, Detector) else load(model)
    _ = detector.model  # a program alone says that it has none
    source = open_source(
        os.fspath(surface),
        "test",
        detector.image_size,
        data_dir=data_dir,
        value_range=detector.value_range,
        cache_bytes=0,  # each image is read once
    )
    return evaluate_source(detector.predict_batch, source, batch_size, cases)
