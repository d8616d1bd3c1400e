"""How functions are compiled: with full products, and ahead of their first call."""

import ctypes
import functools
import os
from collections.abc import Callable
from typing import Any

import jax


def in_full_products(function: Callable) -> Callable:
    """Has a function, to be jitted, computed with full float32 products on every platform.

    GPUs and TPUs shorten the factors of float32 products by default, enough for another code to be
    the nearest. What ``JAX_DEFAULT_MATMUL_PRECISION`` says goes first.
    """

    @functools.wraps(function)
    def precise(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision(jax.config.jax_default_matmul_precision or "highest"):
            return function(*args, **kwargs)

    return precise


def compile_ahead(function: Any, *args: Any) -> jax.stages.Compiled:
    """Compiles what ``jax.jit`` returned for arguments of these shapes, dtypes and shardings.

    On CPU the compiler takes as much memory as a step does, and glibc would keep it: a process that
    trains stage 2 of the full networks, 128 x 128, batch 4, peaked at 2.5 GB in place of 1.7. So
    the compiler's memory is let go before the function runs.
    """
    _return_memory()
    compiled = function.lower(*args).compile()
    _return_memory()
    return compiled


def _return_memory() -> None:
    """Hands freed memory back to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
