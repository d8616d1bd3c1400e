"""What the steps of a size take: seconds, measured or known of an earlier day, and operations."""

import argparse
import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_collections import ConfigDict

ROOT = Path(__file__).parent.parent
TINY = (
    "--config.image_size=(64, 64)",
    "--config.model.hiddens=8",
    "--config.model.residual_hiddens=4",
    "--config.model.code_dim=8",
    "--config.model.num_codes=32",
    "--config.model.restriction_width=8",
    "--config.model.object_bottleneck=8",
    "--config.model.unet_width=4",
    "--config.model.score_window=5",
)
_TINY_STEPS = 60
_CORES_KEPT = 4  # for the training process and for packing
_TIMED_SECONDS = 1.0
_CORES_EACH = 3  # of programs that are compiled side by side

logger = logging.getLogger("vqad")


def configuration(size: str, data: str, tiny: bool) -> "ConfigDict":
    """The configuration of a size on the pictures of a packed corpus."""
    from vqad.commands.flags import load_config

    config = load_config(
        [
            f"--config={ROOT}/configs/pretrain.py:{size},gpu",
            f"--config.pictures={data}/train/good",
            f"--config.surface={data}",
            f"--config.loading_workers={max(1, (os.cpu_count() or 1) - _CORES_KEPT)}",
            *(TINY if tiny else ()),
        ]
    )
    config.checkpoint.keep = 2
    if tiny:
        for name in config.stages:
            config[name].update(steps=_TINY_STEPS, batch_size=4)
        for name in config.stages[1:]:
            config[name].max_cells = 8
    return config


def timed(config: "ConfigDict") -> dict[str, float]:
    """Seconds of a step of each stage, on random images that are on the device.

    A stage that does not fit the memory is worked on in more parts, which ``config`` says then.
    """
    import jax

    from vqad.config import model_from_config
    from vqad.run_stage import make_trainer
    from vqad.stages import STAGES

    model, found = model_from_config(config), {}

    def lowered(name: str) -> jax.stages.Lowered:
        return make_trainer(config, STAGES[name], model, labelled=False).lower()

    programs = {name: lowered(name) for name in config.stages}
    # Into JAX's cache, where the trainers find it. Each takes several cores, and gigabytes.
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // _CORES_EACH)) as pool:
        compiling = {name: pool.submit(program.compile) for name, program in programs.items()}
    for name in programs:
        while True:
            try:
                compiling[name].result()
                seconds = _seconds_per_step(make_trainer(config, STAGES[name], model, False))
                break
            except jax.errors.JaxRuntimeError as error:
                parts = 2 * config[name].accumulate_steps
                if "RESOURCE_EXHAUSTED" not in str(error) or config[name].batch_size % parts:
                    raise
                logger.info("%s: does not fit the memory; %d parts", name, parts)
                config[name].accumulate_steps = parts
        logger.info("%s: %.2f ms a step of %d", name, 1e3 * seconds, config[name].batch_size)
        found[name] = seconds
    return found


def _seconds_per_step(trainer: Any) -> float:
    import jax
    import numpy as np

    state = trainer.init()
    shape = trainer.batch_shapes()["image"].shape
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    batch = trainer.shardings.put_batch({"image": image})
    state, *_ = trainer.step(state, batch)
    jax.block_until_ready(state)
    steps, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < _TIMED_SECONDS:
        for _ in range(4):
            state, *_ = trainer.step(state, batch)
        jax.block_until_ready(state)
        steps += 4
    return (time.perf_counter() - begun) / steps


def known(path: Path | None, size: str, config: "ConfigDict") -> dict[str, float] | None:
    """What ``timed`` returned on an earlier day, if it was the same work on the same device."""
    import jax

    if path is None or not path.exists():
        return None
    told = json.loads(path.read_text()).get(size, {})
    if (told.get("device"), told.get("dtype")) != (
        jax.devices()[0].device_kind,
        config.model.dtype,
    ):
        return None
    stages = told["stages"]
    for name in config.stages:
        if stages.get(name, {}).get("batch_size") != config[name].batch_size:
            return None
    for name in config.stages:
        config[name].accumulate_steps = stages[name]["accumulate_steps"]
    logger.info("%s: times of steps as in %s", size, path)
    return {name: stages[name]["seconds_per_step"] for name in config.stages}


def images_per_second(metrics: Path, stage: str) -> float | None:
    """The median of a stage's reports; None where there are none."""
    rates = [entry["images_per_second"] for entry in _entries(metrics, stage)]
    return statistics.median(rates) if rates else None


def _entries(metrics: Path, stage: str) -> Iterator[dict]:
    with contextlib.suppress(OSError):
        for line in metrics.read_text().splitlines():
            entry = json.loads(line)
            if entry["stage"] == stage and "images_per_second" in entry:
                yield entry


class Operations:
    """Counts the operations of steps in a process of its own, without the accelerator.

    They are those of a step before the compiler works on it. What is compiled for a GPU hides its
    convolutions behind calls that no cost analysis looks into.
    """

    def __init__(self, size: str, tiny: bool) -> None:
        """Starts to count."""
        command = [sys.executable, __file__, size, *(["--tiny"] if tiny else [])]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._found: dict[str, float] = {}

    def of_steps(self) -> dict[str, float]:
        """Operations of each stage's step; nothing as long as they are not counted."""
        if not self._found and self._process.poll() == 0:
            self._found = json.loads(self._process.stdout.read())
        return self._found


def main() -> None:
    """Counts the operations of each stage's step; one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()

    from vqad.config import model_from_config
    from vqad.run_stage import make_trainer
    from vqad.stages import STAGES

    config = configuration(arguments.size, "", arguments.tiny)
    model = model_from_config(config)
    trainers = {name: make_trainer(config, STAGES[name], model, False) for name in config.stages}
    analyses = {name: trainer.lower().cost_analysis() for name, trainer in trainers.items()}
    print(json.dumps({name: analysis["flops"] for name, analysis in analyses.items()}))


if __name__ == "__main__":
    main()
