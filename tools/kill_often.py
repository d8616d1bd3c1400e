"""Kills a run again and again at random moments, and compares what it ends with.

python tools/kill_often.py WORKDIR --kills=30

trains the demo twice, once undisturbed and once killed (SIGKILL) that many times, also while it
saves; every restart must go on from the last whole checkpoint, and all parameters, codebooks and
optimizer states must come out with the same bits.
"""

import argparse
import contextlib
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

import jax
import numpy as np
from command_line import OPTIMIZED, ROOT, environment

from vqad import checkpoints
from vqad.checkpoints import verify

STAGES = ("stage1", "stage2", "stage3")


def complete_steps(workdir):
    """The newest whole checkpoint of each stage, 0 where there is none."""
    return {stage: max(checkpoints.complete_steps(workdir / stage), default=0) for stage in STAGES}


def is_saving(workdir, since):
    """Whether a checkpoint is, or was left, half saved by what runs since a time."""
    halves = workdir.glob("stage?/*.orbax-checkpoint-tmp*")
    with contextlib.suppress(FileNotFoundError):  # it was finished in the meantime
        return any(path.stat().st_mtime > since for path in halves)
    return False


def wait(process, workdir, moments):
    """Waits until a run ends or a random moment: as it starts, between saves, in one of them."""
    begun, before, later = time.time(), complete_steps(workdir), moments.randint(1, 4)
    starting, saving = moments.choice([(True, False), (False, False), (False, True)])
    limit = time.monotonic() + (moments.uniform(0, 10) if starting else 600)
    while process.poll() is None and time.monotonic() < limit:
        now = complete_steps(workdir)
        if now != before:
            before, later = now, later - 1
        if saving and later <= 1 and is_saving(workdir, begun):
            time.sleep(moments.uniform(0, 0.02))
            return
        if not saving and not later:
            time.sleep(moments.uniform(0, 0.3))
            return
        time.sleep(0.001 if saving else 0.01)


def finished(command, workdir, kills, seed=0):
    """Runs a command to its end, killing it first.

    Args:
      command: what to run; made for `workdir`.
      workdir: the run's folder.
      kills: how often to kill it.
      seed: of the moments.

    Returns:
      How often it went on, and how many of the kills left a checkpoint half saved.
    """
    moments, went_on, half_saved = random.Random(seed), 0, 0
    while True:
        before = complete_steps(workdir)
        with tempfile.TemporaryFile("w+") as log:
            begun = time.time()
            process = subprocess.Popen(command, env=environment(**OPTIMIZED), stderr=log)
            if kills:
                wait(process, workdir, moments)
                killed = process.poll() is None
                assert killed, f"ended with {kills} kills left; give it more steps"
                process.kill()
                kills -= 1
            code = process.wait()
            half_saved += code == -9 and is_saving(workdir, begun)
            log.seek(0)
            said = log.read()
        continued = dict(re.findall(r"(stage\d): continuing from step (\d+)", said))
        for stage, step in continued.items():
            assert int(step) == before[stage], (stage, step, before)
        for stage, step in complete_steps(workdir).items():
            if step > before[stage] > 0:
                assert stage in continued, f"{stage} began anew, not at {before[stage]}:\n{said}"
        went_on += len(continued)
        if code == 0:
            return went_on, half_saved
        assert code == -9, said


def assert_same_bits(a, b):
    """Asserts that all stages in two workdirs hold the same bits."""
    for stage in STAGES:
        folders = [str(Path(workdir) / stage) for workdir in (a, b)]
        steps = [checkpoints.complete_steps(folder) for folder in folders]
        assert steps[0] == steps[1], (stage, steps)
        if not steps[0]:
            continue
        for item in ("variables", "training"):
            first, second = (verify.load_item(f, steps[0][-1], item)[0] for f in folders)
            assert jax.tree.structure(first) == jax.tree.structure(second)
            for x, y in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
                assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), (stage, item)


def main():
    """Runs what the first lines say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    args = parser.parse_args()

    def command(workdir):
        python = ["python", str(ROOT / "launch" / "main.py")]
        config = f"--config={ROOT / 'configs' / 'demo.py'}"
        return [*python, config, f"--workdir={workdir}", "--config.checkpoint.every_steps=20"]

    finished(command(args.workdir / "whole"), args.workdir / "whole", kills=0)
    killed = args.workdir / "killed"
    went_on, half_saved = finished(command(killed), killed, args.kills)
    assert_same_bits(args.workdir / "whole", killed)
    assert half_saved or args.kills < 10, "no kill fell in a save"
    print(
        f"killed {args.kills} times, {half_saved} of them in a save; "
        f"went on {went_on} times: same bits"
    )


if __name__ == "__main__":
    main()
