"""vqad: finding defects on surfaces with DSR, the dual subspace re-projection network, in JAX."""

import importlib
from typing import Any

__version__ = "0.2.0"
__all__ = ["Dsr", "Trainer", "load"]

# Imported when asked for: they import JAX, and not all that vqad does needs it.
_HOMES = {
    "Dsr": "vqad.models.dsr",
    "Trainer": "vqad.training.trainer",
    "load": "vqad.interop.load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
