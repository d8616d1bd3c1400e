"""Runs of ``benchmarks/surfaces.py``: processes with a folder each, whose minutes are counted."""

import contextlib
import json
import math
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqad.errors import VqadError
from vqad.paths import write_atomic

LOOK = 5.0  # seconds between two looks at a process


@dataclass(frozen=True)
class Run:
    """A method on a surface with a seed.

    Attributes:
      surface, method, seed: what the tables call it.
      folder: its workdir, with ``evaluation.json``, ``log.txt`` and ``run.json`` (``Record``).
      command: makes ``evaluation.json``, or goes on with making it.
      settings: of JSON types; with others, the folder holds another run.
      goes_on: whether the command goes on where it was stopped, and so its minutes add up.
    """

    surface: str
    method: str
    seed: int
    folder: Path
    command: tuple[str, ...]
    settings: Mapping[str, Any]
    goes_on: bool

    @property
    def name(self) -> str:
        """One line for a message."""
        return f"{self.surface}, {self.method}, seed {self.seed}"

    @property
    def evaluation(self) -> Path:
        """The file with its figures."""
        return self.folder / "evaluation.json"


@dataclass
class Record:
    """What ``run.json`` holds: the run's settings, its minutes so far, whether it finished."""

    settings: Mapping[str, Any]
    minutes: float = 0.0
    finished: bool = False

    def write(self, run: Run) -> None:
        """Writes it into the run's folder.

        Raises:
          VqadError: it cannot be written.
        """
        try:
            write_atomic(run.folder / "run.json", (json.dumps(vars(self)) + "\n").encode())
        except OSError as error:
            raise VqadError(f"{run.folder}: cannot be written ({error}); give another --out") from (
                error
            )


def read_record(run: Run) -> Record:
    """What is known of a run, or of none yet.

    Raises:
      VqadError: its folder holds something else.
    """
    path = run.folder / "run.json"
    if not path.exists():
        if run.folder.exists() and any(run.folder.iterdir()):
            raise VqadError(f"{run.folder}: holds no run of this program; give another --out")
        return Record(run.settings)
    try:
        record = Record(**json.loads(path.read_bytes()))
        change = difference(record.settings, run.settings)
    except (ValueError, TypeError, AttributeError) as error:
        raise VqadError(f"{path}: damaged; delete {run.folder}, or give another --out") from error
    if change:
        raise VqadError(
            f"{run.folder}: was run with other settings ({change}); delete it, or give another "
            "--out"
        )
    return record


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> str:
    """The first of the settings that differs, in words; nothing if none does."""
    for key in dict.fromkeys([*new, *old]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            if inner := difference(before, after, f"{prefix}{key}."):
                return inner
        elif before != after:
            return f"{prefix}{key}: {before!r}, now {after!r}"
    return ""


def execute(run: Run, minutes_limit: float = math.inf) -> str | None:
    """Runs what is left of a run; what it says goes to ``log.txt``.

    Args:
      run: the run.
      minutes_limit: it is told to stop when it took as long, all its starts together.

    Returns:
      None when its figures are there, else why they are not.

    Raises:
      KeyboardInterrupt: it came meanwhile; the process has stopped first.
      VqadError: the folder holds something else or cannot be written.
    """
    record = read_record(run)
    if record.finished and run.evaluation.exists():
        return None
    record = Record(run.settings, record.minutes if run.goes_on else 0.0)
    record.write(run)
    if record.minutes >= minutes_limit:
        return _stopped(record, minutes_limit)
    with open(run.folder / "log.txt", "a") as log:
        start = log.tell()
        # In a session of its own, Ctrl-C reaches it once, from here.
        process = subprocess.Popen(
            run.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code = _wait(process, run, record, minutes_limit)
    if code == 0 and run.evaluation.exists():
        record.finished = True
        record.write(run)
        return None
    if record.minutes >= minutes_limit:
        return _stopped(record, minutes_limit)
    return f"ended with code {code}: {_last_words(run, start)}"


def _wait(process: subprocess.Popen, run: Run, record: Record, limit: float) -> int:
    """Waits for the end of a process and counts its minutes; tells it to stop at the limit."""
    before, begun, told = record.minutes, time.monotonic(), False

    def count() -> None:
        record.minutes = before + (time.monotonic() - begun) / 60
        record.write(run)

    try:
        while True:
            left = LOOK if told else min(LOOK, max(0.0, limit - record.minutes) * 60)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(left)
            count()
            if process.returncode is not None:
                return process.returncode
            if record.minutes >= limit and not told:
                process.terminate()
                told = True
    except BaseException:
        process.terminate()
        process.wait()
        count()
        raise


def _stopped(record: Record, limit: float) -> str:
    return (
        f"stopped after {record.minutes:.1f} minutes (--minutes-limit={limit:g}); with a higher "
        "limit it goes on"
    )


def _last_words(run: Run, start: int) -> str:
    """The error, or else the last line, of what stands in the log from a place on."""
    text = (run.folder / "log.txt").read_bytes()[start:].decode(errors="replace")
    lines = text.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1]
