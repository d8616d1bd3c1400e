"""What a run says of its progress."""

import io
import json
import logging
import re
import sys

import pytest

from vqad.training.progress import Progress


@pytest.fixture
def told(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("vqad"), "propagate", True)
    caplog.set_level("WARNING", "vqad")
    return caplog


def reported(workdir, start, losses):
    progress = Progress(str(workdir), "stage1", start, 100, 4, primary=True)
    for step, loss in enumerate(losses, start + 1):
        progress.report(step, {"loss": loss})
    progress.close()
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_loss_that_rises_tenfold_is_told_once(tmp_path, told):
    losses = [0.2, 0.01, 0.09, 0.3, 0.4, 0.02, 0.3]
    entries = reported(tmp_path, 0, losses)
    (message,) = told.messages
    assert "stage1 step 4: the loss is 30 times the lowest so far, 0.01" in message
    assert "a lower config.stage1.learning_rate" in message
    assert [entry["loss"] for entry in entries] == losses
    assert all(entry["seconds_left"] > 0 for entry in entries)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar_with_lines_above_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    logger = logging.getLogger("vqad")
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler()])
    logger.setLevel("INFO")
    reported(tmp_path, 0, [0.5, 0.001, 0.25])
    shown = re.split(r"[\r\n]", sys.stderr.getvalue())
    assert any(line.startswith("stage1   0 %|") and line.endswith("0/100") for line in shown)
    assert re.search(r"^stage1   3 %\|.*\| 3/100, loss 0.25, .+ images/s, .+ left", shown[-2])
    assert any(line.startswith("warning: stage1 step 3") for line in shown)
    assert not any("step 1/100" in line for line in shown)  # as it is told without a terminal


def test_a_run_that_goes_on_knows_the_lowest_loss_before(tmp_path, told):
    reported(tmp_path, 0, [0.2, 0.01, 0.001])
    reported(tmp_path, 2, [0.05])  # from a checkpoint before the lowest
    assert not told.messages
    reported(tmp_path, 3, [0.3])
    (message,) = told.messages
    assert "30 times the lowest so far, 0.01" in message
