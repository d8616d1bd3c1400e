"""What a run shows: progress bar or plain lines, TensorBoard files, metrics.jsonl."""

import contextlib
import json
import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from vqad.paths import append, write_atomic

logger = logging.getLogger(__name__)

DIVERGED = 10.0
"""The loss of a report over the lowest so far from which on training has probably diverged."""


class Progress:
    """Reports a stage's progress to the terminal, to TensorBoard and to ``metrics.jsonl``.

    On a terminal it is a bar, with other lines above it; elsewhere one plain line for each report.
    Only the ``primary`` process writes anything.
    """

    def __init__(
        self, workdir: str, stage: str, start: int, total: int, batch_size: int, primary: bool
    ) -> None:
        """Opens the outputs of a stage of ``total`` steps; drops what is behind ``start``."""
        self.stage, self.total, self.batch_size = stage, total, batch_size
        self._ending = contextlib.ExitStack()
        self.begun = self.last = (start, time.perf_counter())
        self.lowest, self.told = math.inf, False
        folder = epath.Path(workdir)
        self.jsonl = folder / "metrics.jsonl"
        self.primary = primary
        if not primary:
            return
        from vqad.training.event_files import open_writer

        folder.mkdir(parents=True, exist_ok=True)
        self._go_on_after(start)
        self.writer = open_writer(folder / "tensorboard" / stage, start + 1)
        self._ending.callback(self.writer.close)
        self.bar = tqdm(
            total=total,
            initial=start,
            desc=stage,
            dynamic_ncols=True,
            disable=None,  # where there is no terminal
            bar_format="{desc} {percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt}{postfix}",
        )
        self._ending.enter_context(contextlib.closing(self.bar))
        if not self.bar.disable:
            redirected = logging_redirect_tqdm([logging.getLogger("vqad")])
            self._ending.enter_context(redirected)

    def _go_on_after(self, start: int) -> None:
        """Drops later lines; of the others, takes the lowest loss of the stage."""
        if not self.jsonl.exists():
            return
        lines = self.jsonl.read_bytes().decode(errors="replace").splitlines(keepends=True)
        kept = []
        for line in lines:
            try:
                entry = json.loads(line)
                ours, loss = entry.get("stage") == self.stage, entry.get("loss")
                if ours and entry.get("step", 0) > start:
                    continue
            except (ValueError, RecursionError, AttributeError, TypeError):  # cut off, or odd
                continue
            kept.append(line)
            if ours and isinstance(loss, float):
                self.lowest = min(self.lowest, loss)
        if len(kept) < len(lines):
            write_atomic(self.jsonl, "".join(kept).encode())

    def report(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Reports scalars at a step, with images/s since the last report and time left."""
        if not self.primary:
            return
        last_step, last_time = self.last if step > self.last[0] else self.begun
        now = time.perf_counter()
        seconds = now - last_time
        self.last = (step, now)
        values = {name: float(value) for name, value in metrics.items()}
        steps = step - last_step
        values["images_per_second"] = steps * self.batch_size / seconds
        values["seconds_left"] = (self.total - step) * seconds / steps
        append(self.jsonl, json.dumps({"stage": self.stage, "step": step, **values}) + "\n")
        for name, value in values.items():
            self.writer.add_scalar(f"{self.stage}/{name}", value, step)
        left = tqdm.format_interval(values["seconds_left"])
        told = f"loss {values['loss']:.4g}, {values['images_per_second']:.1f} images/s, {left} left"
        if self.bar.disable:
            logger.info("%s step %d/%d: %s", self.stage, step, self.total, told)
        else:
            self.bar.set_postfix_str(told, refresh=False)
            self.bar.n = step
            self.bar.refresh()
        if values["loss"] > DIVERGED * self.lowest > 0 and not self.told:
            self.told = True
            times = values["loss"] / self.lowest
            logger.warning(
                f"warning: {self.stage} step {step}: the loss is {times:.0f} times the lowest so "
                f"far, {self.lowest:.4g}; if it stays, go on from a checkpoint before (delete "
                f"those behind it) with a lower config.{self.stage}.learning_rate"
            )
        self.lowest = min(self.lowest, values["loss"])

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """Reports metrics of images that are not trained on; their time counts in no rate."""
        if not self.primary:
            return
        entry = {"stage": self.stage, "step": step, "observed": dict(metrics)}
        append(self.jsonl, json.dumps(entry) + "\n")
        for name, value in metrics.items():
            self.writer.add_scalar(f"{self.stage}/observed/{name}", value, step)
        text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        logger.info("%s step %d observed: %s", self.stage, step, text)
        self.last = (step, time.perf_counter())

    def compiled(self, step: int) -> None:
        """Starts the clock of images/s anew behind the first step, which compiles."""
        self.last = (step, time.perf_counter())

    def show(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images, float [n, h, w, 3 or 1] in [0, 1], to TensorBoard."""
        if not self.primary:
            return
        for name, batch in images.items():
            self.writer.add_images(f"{self.stage}/{name}", batch, step, dataformats="NHWC")

    def close(self) -> None:
        """Flushes and closes everything."""
        self._ending.close()
