"""Whole runs with tiny networks through the command line, and what they leave."""

import contextlib
import io
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = [
    "--config.model.hiddens=8",
    "--config.model.residual_hiddens=4",
    "--config.model.residual_layers=1",
    "--config.model.code_dim=4",
    "--config.model.num_codes=16",
    "--config.model.object_bottleneck=4",
    "--config.model.unet_width=4",
    "--config.checkpoint.every_steps=4",
    "--config.log.every_steps=4",
    "--config.log.images_every_steps=8",
    *[f"--config.stage{i}.steps=12" for i in (1, 2, 3)],
    *[f"--config.stage{i}.batch_size=4" for i in (1, 2, 3)],
]
# Runs of a few steps spend their time on compiling, and most of that on LLVM's optimizations.
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
# Newer ones have fusion emitters alone.
HAS_OTHER_EMITTERS = tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11)
if HAS_OTHER_EMITTERS:
    QUICK += " --xla_cpu_use_fusion_emitters=false"
OPTIMIZED = {"XLA_FLAGS": ""}
# The same as options of one function in pytest's own process.
USUAL = {"xla_backend_optimization_level": 3}
if HAS_OTHER_EMITTERS:
    USUAL["xla_cpu_use_fusion_emitters"] = True


def command(workdir, *flags, config="demo.py", mode="train", size=(32, 32)):
    """The command of a tiny run; with size None at the size that the configuration gives."""
    return [
        sys.executable,
        str(ROOT / "launch" / "main.py"),
        f"--config={ROOT / 'configs' / config}",
        f"--workdir={workdir}",
        f"--mode={mode}",
        *TINY,
        *([f"--config.image_size={size}"] if size else []),
        *flags,
    ]


def environment(**more):
    """The variables of a run of its own, compiled in little time unless ``OPTIMIZED`` is added."""
    set_here = {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": QUICK,
    }
    return {**os.environ, **set_here, **more}


def devices(count, flags=QUICK):
    """The variables of a run on so many virtual devices."""
    return {"XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={count}"}


def launch(*args, variables=None, **kwargs):
    env = environment(**(variables or {}))
    return subprocess.run(
        command(*args, **kwargs), env=env, capture_output=True, text=True, timeout=600
    )


def launch_here(workdir, *flags, batch=8, **kwargs):
    """As ``launch``, in this process and on its eight devices: of what ends before it trains."""
    from vqad.cli import main

    batches = [f"--config.stage{i}.batch_size={batch}" for i in (1, 2, 3)]
    line, told = command(workdir, *batches, *flags, **kwargs)[2:], io.StringIO()
    with contextlib.redirect_stderr(told):
        code = main(["train", *line])
    return subprocess.CompletedProcess(line, code, "", told.getvalue())


def refused(result):
    """The one line of an error, with nothing of a traceback."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2, result.stderr
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


def metrics(workdir):
    """The entries of metrics.jsonl."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
