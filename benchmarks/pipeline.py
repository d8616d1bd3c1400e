"""How fast pictures are decoded, next to plain Pillow, and how long training waits for them.

python benchmarks/pipeline.py --pictures /data/photographs --surface /data/tiles

Pictures come out at 256 x 256 and none is kept in memory. The waiting is that of the first steps of
``configs/small.py``, each of which ends before the next batch is asked for; training asks earlier.
"""

import argparse
import runpy
import threading
import time
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from vqad.config import model_from_config
from vqad.data.pipeline import NUM_THREADS, training_batches
from vqad.data.sources import Source, open_source
from vqad.models.initializers import host_key
from vqad.run_stage import make_trainer, stage_batches
from vqad.stages import STAGES
from vqad.stages.stage import Stage

SIZE, BATCH, ROUNDS = (256, 256), 8, 9


def clocks() -> np.ndarray:
    """Seconds of wall time, of the process's CPU time and of its loading threads' CPU time."""
    ids = [t.ident for t in threading.enumerate() if t.name.startswith("grain")]
    loading = sum(time.clock_gettime(time.pthread_getcpuclockid(i)) for i in ids)
    return np.array([time.perf_counter(), time.process_time(), loading])


def pillow(source: Source) -> np.ndarray:
    """Wall and CPU seconds of a picture."""
    begun = clocks()
    for i in range(len(source)):
        picture = Image.open(Path(source.name, source.names(i))).convert("RGB")
        np.array(picture.resize(SIZE, Image.Resampling.BILINEAR))
    return (clocks() - begun)[:2] / len(source)


def vqad(source: Source, threads: int) -> np.ndarray:
    """The same of the pipeline, in the caller's thread (0 threads) or in others."""
    options = {"batch_size": BATCH, "image_size": SIZE, "seed": 0, "random_crop": False}
    batches = training_batches(source, num_threads=threads, **options)
    next(batches)
    time.sleep(1 if threads else 0)  # as many batches wait before the round
    begun = clocks()
    for _ in range(len(source) // BATCH):
        next(batches)
    wall = clocks()[0] - begun[0]
    time.sleep(1 if threads else 0)  # as after it
    cpu = (clocks() - begun)[1]
    batches.close()
    return np.array([wall, cpu]) / (len(source) // BATCH * BATCH)


def compare(folder: str) -> None:
    """Prints pictures per second of wall and of CPU time, and their ratios to Pillow's."""
    source = open_source(folder, "train", SIZE, cache_bytes=0)
    runs = [lambda: pillow(source), lambda: vqad(source, 0), lambda: vqad(source, NUM_THREADS)]
    names = "Pillow", "vqad", f"vqad, {NUM_THREADS} loading threads"
    seconds = [[run() for run in runs] for _ in range(ROUNDS + 1)]
    medians = np.median(seconds[1:], axis=0)  # the first round warms up
    medians[2, 0] = np.nan  # batches that waited before a round flatter it
    print("| | pictures/s | ratio | pictures/s of CPU time | ratio |\n|---|---|---|---|---|")
    for name, (wall, cpu) in zip(names, medians, strict=True):
        ratios = medians[0] / (wall, cpu)
        cells = f"{1 / wall:.0f} | {ratios[0]:.2f} | {1 / cpu:.0f} | {ratios[1]:.2f}"
        print(f"| {name} | {cells} |")


def wait(config: ConfigDict, stage: Stage, steps: int = 40) -> str:
    """Runs steps of a stage with what training runs them with; returns a line of the table."""
    size = None if stage.source == "pictures" else tuple(config.image_size)
    source = open_source(config[stage.source], "train", size, labelled=size is not None)
    model = model_from_config(config)
    init = jax.jit(model.init)
    fresh = jax.device_get(init(host_key(jax.random.key(0)), np.zeros((1, 32, 32, 3))))
    earlier = ("fresh", fresh) if stage.needs else None
    trainer = make_trainer(config, stage, model, source.num_labelled > 0)
    state = trainer.init(earlier)
    loader = stage_batches(config, stage, source, 0)
    batches = trainer.shardings.prefetch(loader)
    waited, taken = [], []
    for _ in range(steps + 1):
        begun = clocks()
        batch = next(batches)
        waited.append(clocks()[0] - begun[0])
        state = jax.block_until_ready(trainer.step(state, batch))[0]
        taken.append(clocks() - begun)
    wall, cpu, loading = np.sum(taken[1:], axis=0)  # the first step warms up
    loader.close()
    share, longest = sum(waited[1:]) / wall, 1000 * max(waited[1:])
    cells = f"{wall / steps:.3f} | {share:.1%} | {longest:.0f} | {cpu / wall:.2f}"
    return f"| {stage.name} | {cells} | {loading / wall:.2f} |"


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", required=True, help="folder of pictures")
    parser.add_argument("--surface", required=True, help="folder of a surface's images")
    args = parser.parse_args()
    compare(args.pictures)
    config = runpy.run_path(f"{Path(__file__).parents[1]}/configs/small.py")["get_config"]()
    config.update(vars(args))
    print("\n| | s a step | waiting | longest wait, ms | cores | cores loading |")
    print("|---|---|---|---|---|---|", flush=True)
    for stage in STAGES.values():
        print(wait(config, stage), flush=True)


if __name__ == "__main__":
    main()
