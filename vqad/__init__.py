"""vqad: finding defects on surfaces with DSR, the dual subspace re-projection network, in JAX."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # which imports JAX: not all that vqad does needs it
        from vqad.interop.load import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
