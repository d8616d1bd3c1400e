"""Times vqad and, where a checkout of theirs is given, the authors' code on the same sizes.

python benchmarks/duel.py                                   vqad alone
python benchmarks/duel.py --authors DSR_anomaly_detection   both; needs vqad[torch], opencv, imgaug

Each case runs in processes of its own. Steps alone are interleaved A B A B within a case; with data
loading, whole processes take turns, so that nobody loads ahead while the other one is timed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workload import Workload, make_folders

HERE = Path(__file__).parent
CASES = {
    "stage1": "stage-1 step",
    "stage2": "stage-2 step, anomalies included",
    "stage3": "stage-3 step",
    "stage1+loading": "stage-1 step with data loading",
    "stage2+loading": "stage-2 step with data loading",
    "stage3+loading": "stage-3 step with data loading",
    "inference": "inference",
    "anomalies": "drawing feature anomalies",
}
# The first steps of a loader that works ahead are faster than it can go on.
LOADED_AHEAD = 6


class Contestant:
    """A process that runs one case, step by step when asked."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        self.first_step = self._receive()["seconds"][0]

    def steps(self, count: int) -> list[float]:
        """Runs steps and returns the seconds of each."""
        print(count, file=self._process.stdin, flush=True)
        return self._receive()["seconds"]

    def close(self) -> float:
        """Ends the process and returns its peak memory in MiB."""
        self._process.stdin.close()
        peak = self._receive()["peak_mib"]
        self._process.terminate()
        self._process.wait()
        return peak

    def _receive(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["it said nothing"])[-1]
            raise SystemExit(f"error: {' '.join(self._process.args)}: {last}")
        return json.loads(line)


@dataclass
class Times:
    """What one contestant did in one case: seconds of steps, start to first step, peak memory."""

    steps: list[float]
    first_step: float
    peak_mib: float

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
      case: a key of ``CASES``.
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
            name: Times(steps[name], contestant.first_step, contestant.close())
            for name, contestant in running.items()
        }
    parts: dict[str, list[Times]] = {name: [] for name in lines}
    for _ in range(rounds):
        for name, line in lines.items():
            contestant = Contestant(line, environment)
            contestant.steps(LOADED_AHEAD)
            steps = contestant.steps(count)
            parts[name].append(Times(steps, contestant.first_step, contestant.close()))
    return {
        name: Times(
            [statistics.fmean(part.steps) for part in several],
            min(part.first_step for part in several),
            max(part.peak_mib for part in several),
        )
        for name, several in parts.items()
    }


def gemm_rate(size: int = 2048, repeats: int = 9) -> float:
    """GFLOP/s of a float32 matrix product in JAX on the default device."""
    import time

    import jax
    import jax.numpy as jnp

    a = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(product(a))
        seconds.append(time.perf_counter() - begun)
    return 2 * size**3 / statistics.median(seconds) / 1e9


def row(name: str, times: dict[str, Times]) -> str:
    """A line of the table."""
    ours, theirs = times["vqad"], times.get("authors")
    cells = [name, f"{ours.median:.3f}", f"{ours.first_step:.1f}", f"{ours.peak_mib:.0f}"]
    if theirs:
        ratio = theirs.median / ours.median
        cells[2:2] = [f"{theirs.median:.3f}", f"{ratio:.2f}"]
        cells += [f"{theirs.first_step:.1f}", f"{theirs.peak_mib:.0f}"]
    return "| " + " | ".join(cells) + " |"


def header(both: bool) -> str:
    """The head of the table."""
    names = ["case", "vqad s", "start s", "peak MiB"]
    if both:
        names[2:2] = ["theirs s", "ratio"]
        names += ["their start s", "their peak MiB"]
    return "| " + " | ".join(names) + " |\n|" + "---|" * len(names)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--authors", help="checkout of VitjanZ/DSR_anomaly_detection")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, nargs="+", default=[4])
    parser.add_argument("--codes", type=int, default=4096)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="steps in each turn")
    found = parser.parse_args()
    if found.authors and not (Path(found.authors) / "train_dsr.py").exists():
        parser.error(f"--authors {found.authors}: no train_dsr.py there; give their checkout")
    return found


def main() -> None:
    """Runs the duel that the command line asks for and prints a table as it goes."""
    args = parse()
    print(f"GEMM, float32: {gemm_rate():.0f} GFLOP/s\n")
    print(header(bool(args.authors)), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        pictures, surface = make_folders(Path(folder))
        work = Workload(
            args.side, args.batch[0], args.codes, args.dtype, str(pictures), str(surface)
        )
        for case in args.cases:
            for batch in args.batch:
                times = duel(
                    case, replace(work, batch=batch), args.authors, args.rounds, args.steps
                )
                print(row(f"{CASES[case]}, batch {batch}", times), flush=True)


if __name__ == "__main__":
    main()
