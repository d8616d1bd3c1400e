"""When a run stops that was asked to, and what it does without a disk to write to."""

import builtins
import contextlib
import errno
import subprocess
import sys

import jax
import numpy as np
import pytest
from command_line import ROOT, environment
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import CheckpointManager

from vqad import checkpoints
from vqad.errors import VqadError
from vqad.processes import check_alike
from vqad.training.event_files import open_writer
from vqad.training.interruption import Interrupted, Interruption


def test_processes_agree_on_a_look_that_none_has_taken(monkeypatch):
    # What JAX does: the moment is one more than the highest number that it has been shown.
    shown, asked = [0], []
    monkeypatch.setattr(jax, "process_count", lambda: 2)

    def reached(number):
        shown.append(number)
        return number in asked

    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", reached)
    interruption = Interruption()
    for _ in range(3):  # steps of a stage, and the look before the next
        assert not interruption.due()
    asked.append(max(shown) + 1)
    assert interruption.due()


def test_checkpoints_leave_it_to_the_loop_to_ask(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", asked.append)
    variables = {"params": {"a": {"b": np.ones(2, np.float32)}}, "codebook": {}}
    plain = CheckpointManager(tmp_path / "plain")
    plain.should_save(1)
    manager = checkpoints.open_manager(str(tmp_path / "ours"))
    plain_asked = len(asked)
    checkpoints.save(manager, 1, variables, {})
    checkpoints.save(manager, 2, variables, {})
    checkpoints.finish(manager)
    assert checkpoints.complete_steps(tmp_path / "ours") == [1, 2]
    assert len(asked) == plain_asked == 1  # by Orbax's own


def test_processes_that_see_other_folders_are_refused(monkeypatch):
    check_alike([12, -1], "it", "mend it")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for other, refused in ([12, -1], False), ([-1, -1], True):
        monkeypatch.setattr(
            multihost_utils, "process_allgather", lambda mine, o=other: np.stack([mine, o])
        )
        with pytest.raises(VqadError, match="mend it") if refused else contextlib.nullcontext():
            check_alike([12, -1], "it", "mend it")


def test_a_signal_between_stages_stops_there():
    interruption = Interruption()
    interruption.check("before stage2")
    interruption.asked = "SIGTERM"
    with pytest.raises(Interrupted, match="before stage2") as stop:
        interruption.check("before stage2")
    assert not stop.value.alone


def test_a_full_disk_stops_no_run(tmp_path, caplog, monkeypatch):
    writer = open_writer(epath.Path(tmp_path), 1)

    def full(*args):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(builtins, "open", full)
    for step in range(30):  # more than a queue holds
        writer.add_scalar("loss", 1.0, step)
    writer.flush()
    assert "not written now" in caplog.text
    monkeypatch.undo()
    writer.close()
    assert next(tmp_path.iterdir()).stat().st_size > 30 * 20


INTERRUPTED = """
import runpy, sys
from vqad.commands import train

def interrupted(*args, **kwargs):
    raise KeyboardInterrupt

train.load_config = interrupted
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def test_an_interrupt_before_the_run_listens_ends_in_one_line():
    line = [sys.executable, "-c", INTERRUPTED, str(ROOT / "launch" / "main.py"), "--config=demo"]
    result = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (75, "stopped before the run began\n")
