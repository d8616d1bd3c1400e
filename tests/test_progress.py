"""What a run says of its progress."""

import json
import logging

from vqad.training.progress import Progress


def test_a_loss_that_rises_tenfold_is_told_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("vqad"), "propagate", True)
    caplog.set_level("WARNING", "vqad")
    progress = Progress(str(tmp_path), "stage1", 0, 100, 4, primary=True)
    for step, loss in ((10, 0.2), (20, 0.01), (30, 0.09), (40, 0.3), (50, 0.4), (60, 0.02)):
        progress.report(step, {"loss": loss})
    progress.close()
    (message,) = caplog.messages
    assert "stage1 step 40: the loss is 30 times the lowest so far, 0.01" in message
    assert "a lower config.stage1.learning_rate" in message
    entries = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [entry["loss"] for entry in entries] == [0.2, 0.01, 0.09, 0.3, 0.4, 0.02]
    assert all(entry["seconds_left"] > 0 for entry in entries)
