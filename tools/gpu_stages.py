"""Pretrains one size until a given time: fits the number of steps to it, and trains.

What ``tools/gpu_pretrain.py`` starts for each size. Stages are fitted anew before each of them, to
the time that those before have left. SIGTERM ends it as it ends any run: saved, exit code 75.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Loading processes import this file too: what they do not need is imported where it is used.
from gpu_plan import begin_at, fit_steps, shares_of_peak, warmup
from gpu_timing import Operations, configuration, images_per_second, known, timed

if TYPE_CHECKING:
    from vqad.training.interruption import Interruption

_SAVE_SECONDS = 120
_REPORTS = 20  # of each stage, at least
# Of starting a stage: compiling, loading processes, the first checkpoint. Those of the stages
# before say it better.
_START_SECONDS = 15.0
# Of decoding and cutting an image, on one core.
_LOADING_SECONDS = 1e-3
# Images a second that threads load as well, without the seconds that processes take to start.
_BY_THREADS = 1000

logger = logging.getLogger("vqad")


def train(arguments: argparse.Namespace, interruption: "Interruption") -> None:
    """Trains the stages that are left.

    Raises:
      Interrupted: it was asked to stop; what was trained is saved.
      SystemExit: there is no time left.
    """
    import jax

    from vqad.checkpoints.weights_file import read_weights
    from vqad.run import run
    from vqad.stages import STAGES

    config = configuration(arguments.size, arguments.data, arguments.tiny)
    metadata, modules = None, ()
    if arguments.start:
        variables, metadata = read_weights(arguments.start)
        modules, config.init_from = tuple(variables["params"]), arguments.start
    trains = {name: stage.trains for name, stage in STAGES.items()}
    begin = begin_at(metadata, modules, config.stages, trains)
    if begin.warm_start:
        config.stage1.standardize_features = False  # the features are trained
    config.stages, config.warm_start = begin.stages, begin.warm_start
    logger.info("%s: %s; warm: %s", arguments.size, *map(", ".join, begin))
    wanted = {name: config[name].steps for name in begin.stages}
    operations = Operations(arguments.size, arguments.tiny)
    times = known(arguments.known, arguments.size, config) or timed(config)
    speed = {
        "device": jax.devices()[0].device_kind,
        "dtype": config.model.dtype,
        "stages": {
            name: {
                "seconds_per_step": times[name],
                "batch_size": config[name].batch_size,
                "accumulate_steps": config[name].accumulate_steps,
            }
            for name in begin.stages
        },
    }
    workers = config.loading_workers
    loading = _LOADING_SECONDS / workers
    workdir, start_seconds = Path(arguments.workdir), _START_SECONDS
    for i, name in enumerate(begin.stages):
        left, settings, told = begin.stages[i:], config[name], speed["stages"][name]
        per_step = {each: max(times[each], loading * config[each].batch_size) for each in left}
        seconds = arguments.until - time.time() - start_seconds * len(left)
        steps = fit_steps(per_step, {each: wanted[each] for each in left}, seconds)[name]
        if not steps:
            raise SystemExit(f"{name}: no time left")
        settings.update(steps=steps, warmup_steps=warmup(steps))
        config.stages = begin.stages[: i + 1]
        config.loading_workers = workers if settings.batch_size / times[name] > _BY_THREADS else 0
        config.checkpoint.every_steps = max(1, int(_SAVE_SECONDS / per_step[name]))
        config.log.every_steps = min(100, max(1, steps // _REPORTS))
        config.log.images_every_steps = steps
        begun = time.perf_counter()
        try:
            run(config, str(workdir), interruption=interruption)
        finally:
            if rate := images_per_second(workdir / "metrics.jsonl", name):
                told.update(steps=steps, images_per_second=round(rate, 1))
                _add_shares(speed, operations.of_steps())
                (workdir / "speed.json").write_text(json.dumps(speed, indent=1) + "\n")
        start_seconds = time.perf_counter() - begun - steps * settings.batch_size / rate
        told["start_seconds"] = round(start_seconds, 1)
        if settings.batch_size / rate > 1.1 * times[name]:
            loading = 1 / rate  # the device waited


def _add_shares(speed: dict[str, Any], operations: Mapping[str, float]) -> None:
    """Adds what follows from images a second, for the stages that have been trained."""
    for name, told in speed["stages"].items():
        if "images_per_second" in told and name in operations:
            rate = told["images_per_second"] / told["batch_size"]
            flops = operations[name] * rate
            told["steps_per_second"] = round(rate, 3)
            told["teraflops_per_second"] = round(flops / 1e12, 3)
            told["shares_of_peak"] = shares_of_peak(speed["device"], speed["dtype"], flops)


def main() -> None:
    """Trains as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size")
    parser.add_argument("--data", required=True, help="folder with train/good")
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--until", type=float, required=True, help="seconds since 1970")
    parser.add_argument("--start", default="", help="weights to go on from")
    parser.add_argument("--known", type=Path, help="speed.json of an earlier day")
    parser.add_argument("--tiny", action="store_true", help="few and small layers and images")
    arguments = parser.parse_args()

    from absl import logging as absl_logging

    from vqad.errors import EXIT_CODE, VqadError
    from vqad.training.interruption import Interrupted, Interruption

    absl_logging.set_verbosity(absl_logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    interruption = Interruption()
    try:
        with interruption.heeded():
            train(arguments, interruption)
    except Interrupted as reason:
        print(f"stopped: {reason}", file=sys.stderr)
        sys.exit(EXIT_CODE)
    except VqadError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
