"""Stage 2 in a loop of one's own, with |I - I_spc| in the loss in place of its square."""

import dataclasses
import sys

import jax.numpy as jnp

from vqad import Dsr, Trainer, checkpoints, stages
from vqad.config import base_config
from vqad.data.pipeline import training_batches
from vqad.data.sources import open_source
from vqad.stages.stage2 import STAGE2, detector_loss


def loss(model, variables, inputs, settings):
    """As ``detector_loss``: float32 scalar, and its metrics."""
    total, told = detector_loss(model, variables, inputs, {**settings, "image_weight": 0.0})
    absolute = settings["image_weight"] * jnp.abs(inputs.image - told.images["I_spc"]).mean()
    metrics = {**told.metrics, "loss": total + absolute, "absolute": absolute}
    return total + absolute, stages.Outcome(metrics, told.images)


def train(stage1, surface, out, size=(128, 128), steps=1000, batch_size=8):
    """Trains from a run's stage 1 on a folder of good parts; stage 3 starts from ``out``."""
    variables, about = checkpoints.load_weights(checkpoints.find_folder(stage1))
    settings = {**base_config().stage2, "steps": steps, "batch_size": batch_size}
    stage, model = dataclasses.replace(STAGE2, loss=loss), Dsr(**about["model"])
    trainer = Trainer(model, stage, settings, image_size=size)
    state, source = trainer.init((stage1, variables)), open_source(surface, "train", size)
    options = {"batch_size": batch_size, "image_size": size, "seed": 0, "random_crop": False}
    batches = trainer.shardings.prefetch(training_batches(source, **options))
    for step, batch in zip(range(1, steps + 1), batches, strict=False):
        state, metrics, _ = trainer.step(state, batch)
        if step % 100 == 0 or step == steps:
            print(step, {name: round(float(value), 4) for name, value in metrics.items()})
    checkpoints.save_weights(out, trainer.variables(state), {**about, "stage": "stage2"})


if __name__ == "__main__":
    train(*sys.argv[1:])
