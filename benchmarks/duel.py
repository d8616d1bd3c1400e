"""Times vqad and, where a checkout of theirs is given, the authors' code on the same sizes.

python benchmarks/duel.py                                   vqad alone
python benchmarks/duel.py --authors DSR_anomaly_detection   both; needs vqad[torch], opencv, imgaug
python benchmarks/duel.py --growth                          stage 2 and inference at other sizes

Each case runs in processes of its own. Steps alone are interleaved A B A B within a case; with data
loading, whole processes take turns, so that nobody loads ahead while the other one is timed. The
start of ``configs/demo.py`` is timed by ``benchmarks/start.py``.
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
LOADED = [name for name in CASES if name.endswith("+loading")]
GROWTH = {
    "side": [{"side": side, "batch": 1} for side in (64, 128, 256, 512)],
    "batch": [{"side": 64, "batch": batch} for batch in (1, 2, 4, 8, 16, 32)],
    "num_codes": [{"batch": 1, "num_codes": k} for k in (512, 1024, 2048, 4096, 8192, 16384)],
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


def row(name: str, times: dict[str, Times], rate: float) -> str:
    """A line of the table."""
    ours, theirs = times["vqad"], times.get("authors")
    share = f"{ours.flops / ours.median / 1e9 / rate:.0%}" if ours.flops else "-"
    cells = [name, f"{ours.median:.3f}", share, f"{ours.first_step:.1f}", f"{ours.peak_mib:.0f}"]
    if theirs:
        ratio = theirs.median / ours.median
        cells[2:2] = [f"{theirs.median:.3f}", f"{ratio:.2f}"]
        cells += [f"{theirs.first_step:.1f}", f"{theirs.peak_mib:.0f}"]
    return "| " + " | ".join(cells) + " |"


def header(both: bool) -> str:
    """The head of the table."""
    names = ["case", "vqad s", "of GEMM", "start s", "peak MiB"]
    if both:
        names[2:2] = ["theirs s", "ratio"]
        names += ["their start s", "their peak MiB"]
    return "| " + " | ".join(names) + " |\n|" + "---|" * len(names)


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


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--authors", help="checkout of VitjanZ/DSR_anomaly_detection")
    parser.add_argument("--cases", nargs="+", choices=CASES)
    parser.add_argument("--growth", action="store_true", help="how time and memory grow")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, nargs="+", default=[4])
    parser.add_argument("--codes", type=int, default=4096)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="steps in each turn")
    found = parser.parse_args()
    if found.authors and not (Path(found.authors) / "train_dsr.py").exists():
        parser.error(f"--authors {found.authors}: no train_dsr.py there; give their checkout")
    found.cases = found.cases or (["stage2", "inference"] if found.growth else list(CASES))
    return found


def main() -> None:
    """Runs the duel that the command line asks for and prints tables as it goes."""
    args = parse()
    rate = gemm_rate()
    print(f"GEMM, float32: {rate:.0f} GFLOP/s\n")
    with tempfile.TemporaryDirectory() as folder:
        pictures, surface = make_folders(Path(folder))
        work = Workload(
            args.side, args.batch[0], args.codes, args.dtype, str(pictures), str(surface)
        )
        if args.growth:
            sizes = [change for along in GROWTH.values() for change in along]
        else:
            sizes = [{"batch": batch} for batch in args.batch]
        print(header(bool(args.authors)), flush=True)
        found: dict[tuple[str, int], dict[str, Times]] = {}
        for case in args.cases:
            for i, change in enumerate(sizes):
                at = replace(work, **change)
                found[case, i] = duel(case, at, args.authors, args.rounds, args.steps)
                size = f"{at.side} x {at.side}, batch {at.batch}, {at.num_codes} codes"
                print(row(f"{CASES[case]}, {size}", found[case, i], rate), flush=True)
        for i in range(len(sizes)):
            if all((name, i) in found for name in LOADED):
                together = sum_of([found[name, i] for name in LOADED])
                print(row("a step of each stage with data loading", together, rate), flush=True)


if __name__ == "__main__":
    main()
