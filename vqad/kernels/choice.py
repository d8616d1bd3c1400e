"""Which form of a kernel is compiled: one line of each kernel says, by platform."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

kernels_for = jax.make_user_context(None)
"""``with kernels_for("onnx"):`` what is traced inside gets each kernel's form for ONNX in place of
those for XLA, with ``"plain"`` the plain one. ``jax.jit`` traces a function anew for each."""

_Form = Callable[..., Any]


def choose(
    *args: jax.Array, plain: _Form, default: _Form, onnx: _Form | None = None, **platforms: _Form
) -> Any:
    """Applies the form of a kernel that suits what is compiled for.

    That is ``plain``, the few lines that say what the kernel computes, ``default`` for XLA, other
    forms of it for some of ``cpu``, ``cuda``, ``rocm`` and ``tpu``, and ``onnx``, if not the plain
    one. XLA's platform is known when a program is lowered, not when it is traced. A kernel of one
    form is called without a branch, which would have all its forms differentiated.
    """
    if kernels_for.value is not None:
        return {"plain": plain, "onnx": onnx or plain}[kernels_for.value](*args)
    if not platforms:
        return default(*args)
    return lax.platform_dependent(*args, default=default, **platforms)
