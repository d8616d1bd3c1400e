"""Runs that are stopped, killed, doubled or find their checkpoints damaged."""

import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from command_line import OPTIMIZED, command, environment, launch, refused
from kill_often import assert_same_bits, finished

from vqad import checkpoints
from vqad.checkpoints.digest import digest

STAGE1 = ["--config.stages=('stage1',)"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Stage 1 trained for 12 steps, with checkpoints at 4, 8 and 12."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    result = launch(workdir, *STAGE1, variables=OPTIMIZED)
    assert result.returncode == 0, result.stderr
    return workdir


def start(workdir, *flags):
    return subprocess.Popen(
        command(workdir, *STAGE1, *flags),
        env=environment(**OPTIMIZED),
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(process, step):
    """Reads what a run says until it has made a step; returns what it said."""
    said = ""
    for line in process.stderr:
        said += line
        if f"step {step}/" in line:
            return said
    raise AssertionError(said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_saves_and_goes_on_later(tmp_path, number):
    flags = ["--config.stage1.steps=3000", "--config.checkpoint.every_steps=100000"]
    process = start(tmp_path / "run", *flags)
    wait_for_step(process, 8)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 75, said
    assert "Traceback" not in said
    step = int(re.search(r"stopped: stage1 is saved at step (\d+) of 3000", said)[1])
    assert checkpoints.complete_steps(tmp_path / "run/stage1") == [step]
    last = [f"--config.stage1.steps={step + 2}", *flags[1:]]
    result = launch(tmp_path / "run", *STAGE1, *last, variables=OPTIMIZED)
    assert result.returncode == 0, result.stderr
    assert f"continuing from step {step}" in result.stderr


def test_a_second_run_in_a_workdir_is_refused(tmp_path):
    process = start(tmp_path / "run", "--config.stage1.steps=100000")
    wait_for_step(process, 4)
    line = refused(launch(tmp_path / "run", *STAGE1))
    assert "another run trains there" in line
    process.kill()
    process.communicate()
    result = launch(tmp_path / "run", *STAGE1)
    assert result.returncode == 0, result.stderr


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(trained, tmp_path):
    flags = ["--config.checkpoint.every_steps=1", "--config.checkpoint.keep=2"]
    long = [*STAGE1, "--config.stage1.steps=30", *flags]
    finished(command(tmp_path / "whole", *long), tmp_path / "whole", kills=0)
    killed = tmp_path / "killed"
    assert finished(command(killed, *long), killed, kills=2, seed=1)[0] > 0  # one aims at a save
    assert_same_bits(tmp_path / "whole", tmp_path / "killed")


def damage(folder, how):
    """Damages the largest files below a folder: Orbax leaves some twice, and reads one of them."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    size = max(p.stat().st_size for p in files)
    for path in files:
        data = bytearray(path.read_bytes())
        if len(data) == size:
            data[size // 2] ^= 1
            path.write_bytes(data[: size // 2] if how == "truncated" else data)


@pytest.mark.parametrize(
    ("item", "how"),
    [("variables", "flipped"), ("training", "truncated"), ("metadata", "flipped")],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(trained, tmp_path, item, how):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    damage(workdir / "stage1" / "12" / item, how)
    result = launch(workdir, *STAGE1, variables=OPTIMIZED)
    assert result.returncode == 0, result.stderr
    assert f"{workdir}/stage1/12: a checkpoint that cannot be read" in result.stderr
    assert "continuing from step 8" in result.stderr
    assert (workdir / "stage1" / "damaged-12").is_dir()
    assert_same_bits(trained, workdir)


READ = """
import logging, sys
from vqad import checkpoints
logging.basicConfig(format="%(message)s")
try:
    found = getattr(checkpoints, sys.argv[1])(sys.argv[2])
    print(found and found[1]["stage"])
except checkpoints.DamagedCheckpoint as error:
    print(f"damaged: {error}")
"""


def read(name, folder):
    """What a function of ``checkpoints`` gives and logs, in a process of its own.

    Where one array cannot be read, Orbax's threads go on for a while with the others, and Python
    tells of them whenever they end, in whichever test that is.
    """
    line = [sys.executable, "-c", READ, name, str(folder)]
    result = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip(), result.stderr


def test_weights_are_taken_from_the_newest_sound_checkpoint(trained, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    for step, count in ((12, 1), (8, 2)):
        damage(workdir / "stage1" / str(step) / "variables", "flipped")
        stage, said = read("load_weights", workdir)
        assert stage == "stage1"
        assert said.count("the one before it is used") == count
    damage(workdir / "stage1" / "4" / "variables", "flipped")
    for refusing in ("load_weights", "set_aside_damaged"):
        refused, _ = read(refusing, workdir / "stage1")
        assert re.match(r"damaged: .*stage1/4: .* no older one", refused), refused
    # What a broken disk may say of all of them moves none.
    assert checkpoints.complete_steps(workdir / "stage1") == [4, 8, 12]


def test_damaged_checkpoints_of_one_step_are_all_kept(trained, tmp_path):
    folder = tmp_path / "stage1"
    for _ in range(2):
        shutil.copytree(trained / "stage1", folder, dirs_exist_ok=True)
        damage(folder / "12" / "variables", "flipped")
        assert read("set_aside_damaged", folder)[0] == "None"
    assert checkpoints.complete_steps(folder) == [4, 8]
    assert (folder / "damaged-12").is_dir()
    assert (folder / "damaged-12-2").is_dir()


def test_any_flipped_bit_changes_the_digest():
    rng = np.random.default_rng(0)
    tree = {"a": rng.normal(size=(3, 4)).astype(np.float32), "b": [np.int32(7), np.zeros(2, bool)]}
    seen = {digest(tree)}
    for _ in range(60):
        row, column, bit = rng.integers(3), rng.integers(4), rng.integers(32)
        other = tree["a"].copy()
        other.view(np.uint32)[row, column] ^= np.uint32(1) << np.uint32(bit)
        assert digest({**tree, "a": other}) != digest(tree)
    seen.add(digest({**tree, "a": tree["a"][::-1]}))
    seen.add(digest({"c": tree["a"], "b": tree["b"]}))
    assert len(seen) == 3


def test_the_digest_does_not_depend_on_where_arrays_live():
    mesh = jax.make_mesh((4, 2), ("x", "y"))
    array = np.arange(64 * 6, dtype=np.float32).reshape(64, 6)
    for spec in (("x", "y"), (("x", "y"), None), (None, "y"), ()):
        placed = jax.device_put(array, jax.NamedSharding(mesh, jax.P(*spec)))
        assert digest({"a": placed}) == digest({"a": array})


FULL_DISK = """
import resource, sys
import numpy as np
from vqad.errors import VqadError
from vqad import checkpoints
array = np.random.default_rng(0).normal(size=(400, 400)).astype("f4")
variables = {"params": {"module": {"a": array}}, "codebook": {}}
manager = checkpoints.open_manager(sys.argv[1], keep=1)
checkpoints.save(manager, 1, variables, {"model": {}})
manager.wait_until_finished()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.save(manager, 2, variables, {"model": {}})
    checkpoints.finish(manager)
except VqadError as error:
    print(error)
"""


def test_full_disk_loses_no_older_checkpoint(tmp_path):
    # A limit on file size makes writes fail midway, as a full disk does.
    folder = tmp_path / "stage1"
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.stderr
    assert "a checkpoint could not be written" in lines[0]
    assert "checkpoints kept: 1" in lines[0]
    assert checkpoints.complete_steps(folder) == [1]
    variables, _ = checkpoints.load_weights(str(folder))
    assert variables["params"]["module"]["a"].shape == (400, 400)
