"""A profile of a few steps: trace files, and a table of where their time goes."""

import collections
import contextlib
import glob
import gzip
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from vqad.paths import copy_tree

logger = logging.getLogger(__name__)

# The first step compiles, the second may still wait for the first's results.
_SKIPPED = 2
_ROWS = 15
_NUMBER = re.compile(r"[.\d]+$")  # behind an operation's name


class Profile:
    """Traces some steps of a stage, behind the first two; ``steps`` of 0 none.

    Leaves ``plugins/profile/...`` for TensorBoard, ``perfetto_trace.json.gz`` for
    https://ui.perfetto.dev, and ``table.txt`` in its folder.
    """

    def __init__(self, folder: str, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self._here = ""  # the profiler writes to disks only
        self._traced = 0

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Surrounds a step; ``number`` counts from one at the start of this run of the stage."""
        if self.steps and number == _SKIPPED + 1:
            self._here = tempfile.mkdtemp(prefix="vqad-profile-")
            jax.profiler.start_trace(self._here, create_perfetto_trace=True)
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield
        self._traced += bool(self._here)
        if self._traced == self.steps:
            self.close()

    def close(self) -> None:
        """Ends the trace, also where the stage had fewer steps than were wanted."""
        if not self._here:
            return
        here, self._here = self._here, ""
        jax.profiler.stop_trace()
        if self._traced:  # else the first traced step failed
            table = summarize(here, self._traced)
            Path(here, "table.txt").write_text(table + "\n")
            copy_tree(here, self.folder)
            logger.info("profile of %d steps in %s\n%s", self._traced, self.folder, table)
        shutil.rmtree(here)

    def wait_for(self, results: Any) -> None:
        """Lets a traced step end before it is left."""
        if self._here:
            jax.block_until_ready(results)


def summarize(folder: str, steps: int) -> str:
    """A table of the operations that took longest, in milliseconds a step.

    Operations that run at the same time are both counted in full, so that the rows may add up to
    more than the step's time, which is given as well.
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
            operations[re.sub(_NUMBER, "", name)] += event["dur"]
            begun[name] = event
        elif name.startswith("end: ") and name[5:] in begun:
            # XLA on CPU hands a convolution to other threads and tells when it is over.
            start = begun.pop(name[5:])
            operations[re.sub(_NUMBER, "", name[5:])] += max(
                0, event["ts"] - start["ts"] - start["dur"]
            )
    lines = [f"{whole / steps / 1e3:10.2f} ms  step"]
    lines += [f"{us / steps / 1e3:10.2f} ms  {name}" for name, us in operations.most_common(_ROWS)]
    return "\n".join(lines)
