"""Times the start of configs/demo.py: from the command to the end of the first training step.

python benchmarks/start.py

The first start compiles everything; the second one, in the same workdir, finds it compiled.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def first_step(workdir: Path) -> float:
    """Seconds from the command until the launcher reports the first step."""
    command = [sys.executable, "launch/main.py", "--config=configs/demo.py"]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*command, f"--workdir={workdir}"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if "first step after" in line:
            seconds = time.perf_counter() - begun
            process.kill()
            process.wait()
            return seconds
    raise SystemExit(f"error: {' '.join(command)}: {said[-1].strip() if said else 'silent'}")


def main() -> None:
    """Prints the seconds of a first and a second start."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        print(f"first start:  {first_step(workdir):.1f} s", flush=True)
        for stage in workdir.glob("stage*"):
            shutil.rmtree(stage)
        print(f"second start: {first_step(workdir):.1f} s")


if __name__ == "__main__":
    main()
