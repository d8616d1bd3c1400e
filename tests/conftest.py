"""Set before JAX starts: eight virtual CPU devices, quick compiling, one compilation cache.

With ``JAX_PLATFORMS=cuda,cpu`` tests that need one device run on a GPU (docs/results.md).
"""

import os
import tempfile

import pytest
from command_line import QUICK

if os.environ.setdefault("JAX_PLATFORMS", "cpu") == "cpu":
    # Tests spend their time on compiling, and most of that on LLVM's optimizations.
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {QUICK}"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="vqad-cache-"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("TFDS_DATA_DIR", tempfile.mkdtemp(prefix="vqad-tfds-"))

# Longest first, so that no process is left alone with one at the end.
LONGEST = (
    "equal_numbers",
    "launch",
    "processes",
    "failures",
    "launch_data",
    "training",
    "buckets",
    "step_program",
    "export",
    "prediction",
)


def pytest_collection_modifyitems(items):
    names = [f"test_{name}" for name in LONGEST]
    rank = {name: i - len(names) for i, name in enumerate(names)}
    items.sort(key=lambda item: rank.get(item.path.stem, 0))
    for item in items:
        if item.path.parent.name == "slow":
            item.add_marker(pytest.mark.slow)
