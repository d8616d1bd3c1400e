"""Pretrains small, full and base on one GPU in a given time; tools/gpu_pretrain.sh starts it.

Each size is a process of its own (``tools/gpu_stages.py``), whose checkpoints are packed and
copied to ``--out`` as soon as they are written, so that what was saved outlasts whatever ends this.
SIGTERM ends it early: saved, exit code 75.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType

from pieces import EIGHT_BIT, PIECE_BYTES, SUFFIX, bundle, to_eight_bit

TOOLS = Path(__file__).parent
# Below the folder of the project, where this is started. Git ignores runs: on a machine that is
# kept, the next call finds them.
RUNS = Path("runs/gpu")
PACKED = RUNS / "weights"
CARRIED = Path("weights")
SPEED = "speed.json"
OUT_BYTES = 63 * 2**20

_FULL_SHARE = 0.65  # of what small leaves; the rest is for base, if it is enough
_ENDING_SECONDS = 30  # for the last checkpoint, packing and copying
_KILL_SECONDS = 20
_SHORTEST_SECONDS = 120  # with less a size is not begun: it would hardly do more than compile
_EXIT_STOPPED = 75


class Packing:
    """Packs the newest checkpoint of a size and copies it out, beside the training."""

    def __init__(self, size: str, workdir: Path, out: Path, start: Path | None) -> None:
        """Nothing is packed yet.

        Args:
          size: name of the bundle.
          workdir: the run's folder.
          out: where bundles go.
          start: weights that the run began from, for the modules that it has not come to.
        """
        self.size, self.workdir, self.out, self.start = size, workdir, out, start
        self._pool = ThreadPoolExecutor(1)
        self._packed: Path | None = None
        self._working: Future | None = None

    def look(self) -> None:
        """Begins to pack a new checkpoint, if there is one and the last one is packed."""
        if self._working is None or self._working.done():
            newest = newest_checkpoint(self.workdir)
            if newest not in (None, self._packed):
                self._packed = newest  # or not: then the next one is
                self._working = self._pool.submit(self._pack, newest)

    def finish(self) -> None:
        """Packs what is left."""
        if self._working is not None:
            self._working.result()
        self.look()
        self._pool.shutdown()

    def _pack(self, checkpoint: Path) -> None:
        try:
            print(f"{checkpoint}: {self._bundle()}", flush=True)
        except Exception as error:  # whatever it is, training goes on and the next one is packed
            print(f"{checkpoint}: not packed: {error!r}", flush=True)

    def _bundle(self) -> str:
        coming = RUNS / "packing" / self.size
        command = [sys.executable, TOOLS / "pack_weights.py", self.workdir, coming]
        if self.start:
            command.append(f"--rest={self.start}")
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-500:])
        files = []
        for suffix in (SUFFIX, ".jsonl", ".json"):
            PACKED.mkdir(parents=True, exist_ok=True)
            files.append(PACKED / f"{self.size}{suffix}")
            os.replace(coming.with_suffix(suffix), files[-1])
        if files[0].stat().st_size > PIECE_BYTES:
            smaller = coming.with_suffix(EIGHT_BIT)
            to_eight_bit(files[0], smaller)
            files[0] = smaller
        pieces = bundle(files, self.out, self.size)
        total = sum(path.stat().st_size for path in self.out.iterdir())
        more = ", more than comes back" if total > OUT_BYTES else ""
        return f"{len(pieces)} pieces; {total:,} bytes in {self.out}{more}"


def newest_checkpoint(workdir: Path) -> Path | None:
    """The checkpoint folder that was written last; Orbax names it so when it is whole."""
    steps = [path for path in workdir.glob("*/*") if re.fullmatch(r"\d+", path.name)]
    return max(steps, key=lambda path: path.stat().st_mtime, default=None)


def start_of(size: str, folders: Sequence[Path]) -> Path | None:
    """The first folder's weights of a size, if any has such."""
    files = [folder / f"{size}{SUFFIX}" for folder in folders]
    return next((file for file in files if file.exists()), None)


def seconds_of(size: str, small_seconds: float, left: float) -> float:
    """What a size gets of the seconds that are left, the sizes before it done."""
    if size == "small":
        return min(small_seconds, left)
    for_base = (1 - _FULL_SHARE) * left
    return left - for_base if size == "full" and for_base >= _SHORTEST_SECONDS else left


class Runner:
    """Runs one size after the other.

    Attributes:
      asked: whether SIGTERM or SIGINT came.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Listens to signals."""
        self.arguments, self.asked = arguments, False
        self.out: Path = arguments.out
        self.end = time.time() + arguments.seconds - _ENDING_SECONDS
        # Each call trains in folders of its own: what it goes on from are weights.
        self.workdirs = RUNS / time.strftime("%Y%m%d-%H%M%S")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def run(self) -> int:
        """Trains the sizes; returns the exit code."""
        codes, packings = [], []
        for size in self.arguments.sizes:
            seconds = seconds_of(size, self.arguments.small_seconds, self.end - time.time())
            if self.asked or seconds < min(_SHORTEST_SECONDS, self.arguments.seconds / 4):
                print(f"{size}: {seconds:.0f} s left, not begun", flush=True)
                continue
            start = start_of(size, (PACKED, CARRIED))
            packing = Packing(size, self.workdirs / size, self.out, start)
            codes.append(self._train(size, time.time() + seconds, packing, start))
            packings.append(packing)
            print(f"{size}: ended with {codes[-1]}", flush=True)
        for packing in packings:
            packing.finish()
        self._tell_speed()
        if self.asked:
            return _EXIT_STOPPED
        return 0 if codes and not any(code not in (0, _EXIT_STOPPED) for code in codes) else 1

    def _train(self, size: str, until: float, packing: Packing, start: Path | None) -> int:
        workdir = self.workdirs / size
        workdir.mkdir(parents=True)
        command = [
            *(sys.executable, TOOLS / "gpu_stages.py", size),
            *(f"--data={self.arguments.data}", f"--workdir={workdir}", f"--until={until}"),
        ]
        if start:
            print(f"{size}: goes on from {start}", flush=True)
            command.append(f"--start={start}")
        known = next((f / SPEED for f in (PACKED, CARRIED) if (f / SPEED).exists()), None)
        if known:
            command.append(f"--known={known}")
        if self.arguments.tiny:
            command.append("--tiny")
        with open(self.out / "output.txt", "a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        told = 0.0
        while process.poll() is None:
            time.sleep(0.5)
            packing.look()
            self._tell_speed()
            now = time.time()
            if not told and (self.asked or now > until):
                process.terminate()
                told = now
            if told and now > told + _KILL_SECONDS:
                process.kill()
        packing.look()
        return process.returncode

    def _tell_speed(self) -> None:
        """Joins the speeds of all sizes, those of earlier days too."""
        found = {}
        for path in (CARRIED / SPEED, PACKED / SPEED):
            found |= json.loads(path.read_text()) if path.exists() else {}
        for path in sorted(self.workdirs.glob(f"*/{SPEED}")):
            try:
                new = json.loads(path.read_text())
            except ValueError:  # half written
                return
            old = found.get(path.parent.name, {})
            if old.get("device") == new["device"]:
                new["stages"] = {**old["stages"], **new["stages"]}
            found[path.parent.name] = new
        text = json.dumps(found, indent=1) + "\n"
        for folder in (PACKED, self.out):
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / SPEED).exists() or (folder / SPEED).read_text() != text:
                (folder / SPEED).write_text(text)


def main() -> None:
    """Pretrains as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--small-seconds", type=float, default=200)
    parser.add_argument("--sizes", nargs="+", default=["small", "full", "base"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="few and small layers and images")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(RUNS / "packing", ignore_errors=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str((RUNS / "compiled").resolve()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    code = Runner(arguments).run()
    print((arguments.out / SPEED).read_text(), flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
