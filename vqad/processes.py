"""Several processes that train together: who they are, and what only one of them does."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vqad.errors import VqadError, reason

HEARTBEAT_SECONDS = 30
"""How long a process may be silent before the others end with a message."""


def join(coordinator: str = "", count: int = 0, index: int = -1) -> None:
    """Joins the other processes of a run, before JAX is used; a VqadError if they are not found.

    The coordinator is the first process's address, as ``10.0.0.1:1234``. If empty, JAX asks the
    cluster (TPU pods, SLURM, Open MPI, Kubernetes) for it, for the count and for this one's index.
    """
    given: dict[str, Any] = {
        "coordinator_address": coordinator,
        "num_processes": count,
        "process_id": index,
    }
    try:
        jax.distributed.initialize(
            **(given if coordinator else {}), heartbeat_timeout_seconds=HEARTBEAT_SECONDS
        )
    except (RuntimeError, ValueError) as error:
        raise VqadError(
            f"--distributed: the other processes cannot be joined ({reason(error)}); give "
            "--coordinator, --processes and --process, the same first two to all"
        ) from error


def is_first() -> bool:
    """Whether this is the process that writes what is written once."""
    return jax.process_index() == 0


def check_alike(values: Sequence[int], what: str, remedy: str) -> None:
    """Refuses, on all, to go on where processes found other numbers: they would wait forever."""
    if jax.process_count() == 1:
        return
    found = multihost_utils.process_allgather(np.array(values, np.int32))
    if (found != found[0]).any():
        raise VqadError(f"{what} is not the same for all processes; {remedy}")


def wait_for_all(what: str) -> None:
    """Waits until all processes are here, at a place that all give the same name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
