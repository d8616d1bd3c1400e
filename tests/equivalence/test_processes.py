"""Two processes with two devices each, on this machine."""

import contextlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from command_line import ROOT, command, devices, environment, launch, metrics

from vqad.checkpoints import complete_steps, load_weights
from vqad.training.lock import WorkdirLock

pytestmark = pytest.mark.slow

STAGE1 = ["--config.stages=('stage1',)", "--config.log.every_steps=1"]
LONG = ["--config.stage1.steps=100000", "--config.mesh.split=optimizer"]


def free_address():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def start_two(workdir, *flags, **kwargs):
    """Starts both processes of a run; what they say goes to files beside the workdir."""
    started, address = [], free_address()
    for index in (0, 1):
        joined = (f"--coordinator={address}", "--processes=2", f"--process={index}")
        with open(f"{workdir}.{index}.log", "w") as log:
            line = command(workdir, *STAGE1, *flags, *joined)
            started.append(
                subprocess.Popen(line, env=environment(**devices(2, **kwargs)), stderr=log)
            )
    return started


def said(workdir, index):
    with open(f"{workdir}.{index}.log") as log:
        return log.read()


def wait_for_step(process, workdir, step):
    while f"step {step}/" not in said(workdir, 0):
        assert process.poll() is None, said(workdir, 0)
        time.sleep(0.1)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A run of two processes that share the optimizer's state, of which the second is killed.

    Returns its workdir, the first's exit code and how many seconds that took.
    """
    workdir = tmp_path_factory.mktemp("together") / "run"
    first, second = start_two(workdir, *LONG)
    wait_for_step(first, workdir, 50)
    second.kill()
    second.wait()
    begun = time.monotonic()
    first.wait(timeout=90)
    return workdir, first.returncode, time.monotonic() - begun


def test_two_processes_give_the_numbers_of_one(tmp_path):
    # What QUICK leaves differs in rounding by what a code can depend on.
    for process in start_two(tmp_path / "two", flags=""):
        process.wait(timeout=300)
        assert process.returncode == 0, said(tmp_path / "two", 0) + said(tmp_path / "two", 1)
    result = launch(tmp_path / "one", *STAGE1, variables=devices(4, flags=""))
    assert result.returncode == 0, result.stderr
    two, one = metrics(tmp_path / "two"), metrics(tmp_path / "one")
    assert [entry["step"] for entry in two] == list(range(1, 13))
    for a, b in zip(two, one, strict=True):
        for key in a.keys() - {"stage", "images_per_second", "seconds_left"}:
            np.testing.assert_allclose(a[key], b[key], rtol=1e-5, err_msg=key)
    (a, _), (b, _) = (load_weights(str(tmp_path / name)) for name in ("two", "one"))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b)


def in_double(stage, folder):
    """Arrays by name after 20 steps of a stage: of two processes, and of one."""
    script = [sys.executable, str(ROOT / "tests" / "support" / "steps_in_double.py"), stage]
    two = [*script, str(folder / "two.npz"), free_address(), "2"]
    started = [subprocess.Popen([*two, process], env=environment(**devices(2))) for process in "01"]
    assert [process.wait(timeout=500) for process in started] == [0, 0]
    one = [*script, str(folder / "one.npz")]
    subprocess.run(one, env=environment(**devices(4)), check=True, timeout=500)
    return np.load(folder / "two.npz"), np.load(folder / "one.npz")


# Stage 1 is compared in single precision, above, with the data that it loads; stage 3 has the
# same step, with less in its loss.
def test_two_processes_give_the_numbers_of_one_in_double_precision(tmp_path):
    two, one = in_double("stage2", tmp_path)
    assert two.files == one.files
    assert "metrics/loss" in one.files
    assert any(name.startswith("params/") for name in one.files)
    for name in one.files:
        assert one[name].dtype == np.float64 or not name.startswith("params/"), name
        # What is all zeros, as biases in front of a norm, stays so.
        atol = 1e-10 * np.abs(one[name]).max()
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=atol, err_msg=name)
    assert one["images/target"].any()


def test_when_one_process_dies_the_other_ends_with_a_message(together):
    workdir, code, seconds = together
    assert code != 0
    assert seconds < 60
    assert "another task died" in said(workdir, 0)


def test_when_one_process_fails_the_others_end(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    with contextlib.ExitStack() as ending:
        lock = WorkdirLock(workdir)
        ending.callback(lock.release)
        lock.take()  # which only the first process of a run asks for
        first, second = start_two(workdir)
        assert first.wait(timeout=120) == 2, said(workdir, 0)
        begun = time.monotonic()
        assert second.wait(timeout=90) != 0
    assert time.monotonic() - begun < 60
    assert said(workdir, 0).count("error: ") == 1
    assert "another run trains there" in said(workdir, 0)
    assert "Traceback" not in said(workdir, 0)


def test_both_go_on_after_that_and_a_signal_to_one_stops_both(together):
    workdir = together[0]
    done = max(complete_steps(workdir / "stage1"))
    both = start_two(workdir, *LONG)
    wait_for_step(both[0], workdir, done + 4)
    both[1].send_signal(signal.SIGINT)  # which it makes a SIGTERM
    for process in both:
        process.wait(timeout=120)
        assert process.returncode == 75, said(workdir, 0) + said(workdir, 1)
    assert f"continuing from step {done}" in said(workdir, 0)
    saved = max(complete_steps(workdir / "stage1"))
    assert saved >= done + 4
    assert f"stage1 is saved at step {saved} of 100000" in said(workdir, 1)
