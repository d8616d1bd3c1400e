"""Contestants of a duel: processes that run a case step by step, and their times."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workload import Workload

HERE = Path(__file__).parent
# The first steps of a loader that works ahead are faster than it can go on.
LOADED_AHEAD = 6


class Contestant:
    """A process that runs one case, step by step when asked."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        self._receive()
        self.first_step = time.perf_counter() - begun

    def steps(self, count: int) -> list[float]:
        """Runs steps and returns the seconds of each."""
        print(count, file=self._process.stdin, flush=True)
        return self._receive()["seconds"]

    def close(self) -> dict:
        """Ends the process and returns its peak memory in MiB and a step's arithmetic."""
        self._process.stdin.close()
        last = self._receive()
        self._process.terminate()
        self._process.wait()
        return last

    def _receive(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["it said nothing"])[-1]
            raise SystemExit(f"error: {' '.join(self._process.args)}: {last}")
        return json.loads(line)


@dataclass
class Times:
    """What one contestant did in one case.

    Attributes:
      steps: seconds of each step.
      first_step: seconds from start to the end of the first step.
      peak_mib: peak memory of the process.
      flops: floating point operations of a step, 0 where not counted.
    """

    steps: list[float]
    first_step: float
    peak_mib: float
    flops: float

    @property
    def median(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.steps)


def commands(case: str, work: Workload, authors: str | None) -> dict[str, list[str]]:
    """The contestants' command lines by name."""
    found = {"vqad": [sys.executable, str(HERE / "vqad_cases.py"), case, work.to_json()]}
    if authors:
        script = str(HERE / "authors_cases.py")
        found["authors"] = [sys.executable, script, case, work.to_json(), authors]
    return found


def duel(
    case: str, work: Workload, authors: str | None, rounds: int, count: int
) -> dict[str, Times]:
    """Times a case.

    Args:
      case: a key of ``duel.CASES``.
      work: sizes and folders.
      authors: checkout of the authors' repository, or None.
      rounds: how often the contestants take turns.
      count: steps in each turn.

    Returns:
      The times of each contestant.
    """
    lines, environment = commands(case, work, authors), dict(os.environ)
    if not case.endswith("loading"):
        running = {name: Contestant(line, environment) for name, line in lines.items()}
        steps = {name: [] for name in running}
        for _ in range(rounds):
            for name, contestant in running.items():
                steps[name] += contestant.steps(count)
        return {
            name: Times(steps[name], contestant.first_step, **contestant.close())
            for name, contestant in running.items()
        }
    parts: dict[str, list[Times]] = {name: [] for name in lines}
    for _ in range(rounds):
        for name, line in lines.items():
            contestant = Contestant(line, environment)
            contestant.steps(LOADED_AHEAD)
            steps = contestant.steps(count)
            parts[name].append(Times(steps, contestant.first_step, **contestant.close()))
    return {
        name: Times(
            [statistics.fmean(part.steps) for part in several],
            min(part.first_step for part in several),
            max(part.peak_mib for part in several),
            several[0].flops,
        )
        for name, several in parts.items()
    }


def sum_of(parts: Sequence[dict[str, Times]]) -> dict[str, Times]:
    """One step of each part after the other."""
    return {
        name: Times(
            [sum(part[name].median for part in parts)],
            sum(part[name].first_step for part in parts),
            max(part[name].peak_mib for part in parts),
            sum(part[name].flops for part in parts),
        )
        for name in parts[0]
    }
