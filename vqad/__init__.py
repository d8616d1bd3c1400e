"""vqad: finding defects on surfaces with DSR, the dual subspace re-projection network, in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

from vqad.errors import VqadError

if TYPE_CHECKING:
    from vqad import stages
    from vqad.api import evaluate, train
    from vqad.interop.load import load
    from vqad.models.dsr import Dsr
    from vqad.training.trainer import Trainer

__version__ = "0.2.0"
__all__ = ["Dsr", "Trainer", "VqadError", "evaluate", "load", "stages", "train"]

# Imported when asked for: they import JAX, and not all that vqad does needs it.
_HOMES = {
    "Dsr": "vqad.models.dsr",
    "Trainer": "vqad.training.trainer",
    "evaluate": "vqad.api",
    "load": "vqad.interop.load",
    "train": "vqad.api",
}


def __getattr__(name: str) -> Any:
    if name == "stages":
        return importlib.import_module("vqad.stages")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
