"""Checkpoints with Orbax: variables, what training needs besides, and a description.

A checkpoint folder holds one folder for each kept step, with the items ``variables`` (params and
codebook of the whole model so far), ``training`` (optimizer state and counters; absent in imported
weights) and ``metadata`` (JSON: model fields, stage, origin, digests of the arrays).
"""

from vqad.checkpoints.merging import merge
from vqad.checkpoints.read import (
    complete_steps,
    find_folder,
    latest_step,
    load_metadata,
    load_step,
    load_training,
    load_weights,
    set_aside_damaged,
)
from vqad.checkpoints.verify import DamagedCheckpoint
from vqad.checkpoints.write import finish, open_manager, save, save_weights

__all__ = [
    "DamagedCheckpoint",
    "find_folder",
    "finish",
    "latest_step",
    "load_metadata",
    "load_step",
    "load_training",
    "load_weights",
    "merge",
    "open_manager",
    "save",
    "save_weights",
    "set_aside_damaged",
    "complete_steps",
]
