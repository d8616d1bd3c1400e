"""How long the steps of a size take: measured, known of an earlier day, or as trained."""

import contextlib
import json
import logging
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_TIMED_SECONDS = 1.0
_CORES_EACH = 3  # of programs that are compiled side by side

logger = logging.getLogger("vqad")


def timed(config: "ConfigDict") -> dict[str, dict[str, Any]]:
    """Seconds and operations of a step of each stage, on random images that are on the device.

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
    for name, program in programs.items():
        flops = program.cost_analysis()["flops"]  # before the compiler: alike for all devices
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
        found[name] = {"seconds_per_step": seconds, "flops_per_step": flops}
    return found


def _seconds_per_step(trainer: Any) -> float:
    import jax
    import numpy as np

    state = trainer.init()
    shape = trainer.batch_shapes()["image"].shape
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    batch = trainer.sharding.put_batch({"image": image})
    state, *_ = trainer.step(state, batch)
    jax.block_until_ready(state)
    steps, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < _TIMED_SECONDS:
        for _ in range(4):
            state, *_ = trainer.step(state, batch)
        jax.block_until_ready(state)
        steps += 4
    return (time.perf_counter() - begun) / steps


def known(path: Path | None, size: str, config: "ConfigDict") -> dict[str, dict[str, Any]] | None:
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
    return {name: stages[name] for name in config.stages}


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
