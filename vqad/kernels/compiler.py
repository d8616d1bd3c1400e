"""How functions are compiled: options for a platform, and ahead of their first call."""

import ctypes
import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import jax

logger = logging.getLogger(__name__)

SWITCH = "VQAD_COMPILER_OPTIONS"
"""Environment variable; ``off`` leaves the options out."""

_CPU_OPTIONS = {
    # Keeps convolutions out of YNNPACK: a 3x3 weight gradient took 1.5 times as long there
    # (64 channels, 64 x 64, two cores).
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
}


@functools.cache
def compiler_options(platform: str | None = None) -> dict[str, str]:
    """Options for ``jax.jit(..., compiler_options=...)``, if this version of XLA knows them.

    They are logged, once. There are none but for CPU, and none where the environment has
    ``VQAD_COMPILER_OPTIONS=off``. The platform is the default devices' if None.
    """
    if (platform or jax.default_backend()) != "cpu" or os.environ.get(SWITCH) == "off":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=_CPU_OPTIONS)(0.0)
    except jax.errors.JaxRuntimeError:
        return {}
    text = ", ".join(f"{name}={value}" for name, value in _CPU_OPTIONS.items())
    logger.debug("compiler options: %s (%s=off leaves them out)", text, SWITCH)
    return _CPU_OPTIONS


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
