"""20 steps of a stage in double precision, for comparison, on all devices of all processes.

python tests/support/steps_in_double.py STAGE OUT.npz [COORDINATOR PROCESSES PROCESS]
"""

import sys

import jax
import numpy as np
from tiny import Run

from vqad.processes import join
from vqad.stages import STAGES
from vqad.training.sharding import Shardings


def main(stage, out, coordinator="", processes="1", process="0"):
    if coordinator:
        join(coordinator, int(processes), int(process))
    run = Run(STAGES[stage], None, 20, shardings=Shardings.over_devices(), double=True)
    parts = {
        "metrics": {key: np.array([m[key] for m in run.metrics]) for key in run.metrics[0]},
        "params": jax.device_get(run.state.params),
        "images": {key: array[:2] for key, array in run.images.items()},
    }
    found = {
        "/".join(key.key for key in path): array
        for path, array in jax.tree_util.tree_leaves_with_path(parts)
    }
    if jax.process_index() == 0:
        np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
