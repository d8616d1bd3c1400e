"""A profile of a few steps: trace files, and a table of where their time goes."""

import collections
import contextlib
import glob
import gzip
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import jax

from vqad.paths import copy_tree, is_remote

logger = logging.getLogger(__name__)

# The first step compiles, the second may still wait for the first's results.
_SKIPPED = 2
_ROWS = 15


class Profile:
    """Traces some steps of a stage, behind the first two; ``steps`` of 0 none.

    Leaves ``plugins/profile/...`` for TensorBoard, ``perfetto_trace.json.gz`` for
    https://ui.perfetto.dev, and ``table.txt`` in its folder.
    """

    def __init__(self, folder: str, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self._here = folder  # the profiler writes to disks only
        self._running = False
        self._traced = 0

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Surrounds a step; ``number`` counts from one at the start of this run of the stage."""
        if self.steps and number == _SKIPPED + 1:
            if is_remote(self.folder):
                self._here = tempfile.mkdtemp(prefix="vqad-profile-")
            jax.profiler.start_trace(self._here, create_perfetto_trace=True)
            self._running = True
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield
        self._traced += self._running
        if self._traced == self.steps:
            self.close()

    def close(self) -> None:
        """Ends the trace, also where the stage had fewer steps than were wanted."""
        if not self._running:
            return
        self._running = False
        jax.profiler.stop_trace()
        if not self._traced:  # the first traced step failed
            return
        table = summarize(self._here, self._traced)
        with open(os.path.join(self._here, "table.txt"), "w") as file:
            file.write(table + "\n")
        if is_remote(self.folder):
            copy_tree(self._here, self.folder)
            shutil.rmtree(self._here)
        logger.info("profile of %d steps in %s\n%s", self._traced, self.folder, table)

    def wait_for(self, results: Any) -> None:
        """Lets a traced step end before it is left."""
        if self._running:
            jax.block_until_ready(results)


def summarize(folder: str, steps: int) -> str:
    """A table of the operations that took longest, from the trace of some steps in a folder.

    Its lines are milliseconds a step and names, with the numbers behind them left out. Operations
    that run at the same time are both counted in full, so that the rows may add up to more than the
    step's time, which is given as well.
    """
    newest = max(glob.glob(f"{folder}/**/perfetto_trace.json.gz", recursive=True))
    with gzip.open(newest) as file:
        events = json.load(file)
    events = events["traceEvents"] if isinstance(events, dict) else events
    operations, begun, whole = collections.Counter(), {}, 0.0
    for event in sorted((e for e in events if e.get("ph") == "X"), key=lambda e: e["ts"]):
        name = event["name"]
        if name == "train":
            whole += event["dur"]
        elif "hlo_op" in event.get("args", {}):
            operations[_kind(name)] += event["dur"]
            begun[name] = event
        elif name.startswith("end: ") and name[5:] in begun:
            # XLA on CPU hands a convolution to other threads and tells when it is over.
            start = begun.pop(name[5:])
            operations[_kind(name[5:])] += max(0, event["ts"] - start["ts"] - start["dur"])
    lines = [f"{whole / steps / 1e3:10.2f} ms  step"]
    lines += [f"{us / steps / 1e3:10.2f} ms  {name}" for name, us in operations.most_common(_ROWS)]
    return "\n".join(lines)


def _kind(name: str) -> str:
    """An operation's name without its number."""
    return re.sub(r"[.\d]+$", "", name)
