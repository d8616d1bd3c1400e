"""Times of each kernel and of the plain form that it equals, forward and with its gradient.

python benchmarks/kernels.py

The two take turns on the default device; medians. A ratio above 1 is what the kernel gains. "paper"
is one image of 256 x 256 with the networks of the paper, "small" a batch of 8 of 128 x 128 with
those of configs/small.py.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqad.kernels.bilinear import upsample_conv
from vqad.kernels.choice import kernels_for
from vqad.kernels.convolutions import conv, conv_down, conv_transpose
from vqad.kernels.distances import nearest_code
from vqad.kernels.normalization import instance_norm_relu
from vqad.kernels.pooling import max_pool
from vqad.kernels.ranks import codes_at_ranks

# Sizes of an input and of a convolution's kernel, the paper's first: of each network that has one
# the layer that takes longest.
LAYERS = [
    (conv, [(1, 64, 64, 64), (1, 1, 64, 128)], [(8, 32, 32, 16), (1, 1, 16, 32)]),
    (conv, [(1, 16, 16, 1024), (1, 1, 1024, 64)], [(8, 8, 8, 256), (1, 1, 256, 64)]),
    (conv, [(1, 256, 256, 64), (3, 3, 64, 2)], [(8, 128, 128, 16), (3, 3, 16, 2)]),
    (conv_down, [(1, 256, 256, 3), (4, 4, 3, 64)], [(8, 128, 128, 3), (4, 4, 3, 16)]),
    (conv_down, [(1, 128, 128, 64), (4, 4, 64, 128)], [(8, 64, 64, 16), (4, 4, 16, 32)]),
    (conv_transpose, [(1, 64, 64, 128), (4, 4, 128, 64)], [(8, 32, 32, 32), (4, 4, 32, 16)]),
    (conv_transpose, [(1, 128, 128, 64), (4, 4, 64, 3)], [(8, 64, 64, 16), (4, 4, 16, 3)]),
    (upsample_conv, [(1, 128, 128, 128), (3, 3, 128, 64)], [(8, 64, 64, 32), (3, 3, 32, 16)]),
    (upsample_conv, [(1, 16, 16, 512), (3, 3, 512, 256)], [(8, 8, 8, 128), (3, 3, 128, 64)]),
    (instance_norm_relu, [(1, 256, 256, 64)], [(8, 128, 128, 16)]),
    (max_pool, [(1, 256, 256, 64)], [(8, 128, 128, 16)]),
]
# Feature maps and codebooks at the hi level.
SEARCHES = [((1, 64, 64, 128), (4096, 128)), ((8, 32, 32, 32), (512, 32))]
WANTED = 0.1
"""Share of the positions whose codes stage 2 would replace."""

HEAD = ("kernel", "networks", "sizes", "ms", "plain", "ratio", "+gradient", "plain", "ratio")
ROW = "| {:18} | {:8} | {:26} |" + 2 * " {:>9} | {:>8} | {:>5} |"


def compiled(function: Callable, args: list, gradient: bool, plain: bool) -> Callable[[], Any]:
    """The function or its gradient for these arguments, compiled as a train step is."""

    def with_gradient(weight: jax.Array, *args: jax.Array) -> Any:
        y, pull = jax.vjp(function, *args)
        return y, pull(weight)

    with kernels_for("plain" if plain else None):
        if gradient:
            out = jax.eval_shape(function, *args)
            args = [jnp.ones(out.shape, out.dtype), *args]
        jitted = jax.jit(with_gradient if gradient else function)
        program = jitted.lower(*args).compile()
    return lambda: jax.block_until_ready(program(*args))


def medians(programs: list[Callable[[], Any]], seconds: float, least: int) -> list[float]:
    """Median seconds of each, in rounds of all of them."""
    for program in programs:
        program()
    times, end = [[] for _ in programs], time.perf_counter() + seconds
    while len(times[0]) < least or (time.perf_counter() < end and len(times[0]) < 200):
        for program, taken in zip(programs, times, strict=True):
            began = time.perf_counter()
            program()
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def cases(which: int, dtype: str) -> list[tuple[Callable, list[jax.Array], bool]]:
    """Kernels, their arguments, whether they have a gradient; sizes of the paper (0), small (1)."""
    rng = np.random.default_rng(0)

    def normal(shape: tuple[int, ...]) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape).astype(np.float32))

    found = [
        (function, [normal(shape).astype(dtype) for shape in sizes[which]], True)
        for function, *sizes in LAYERS
    ]
    features, codes = (normal(shape) for shape in SEARCHES[which])
    at = features.shape[:3]
    ranks = jnp.asarray(rng.integers(len(codes) // 20, len(codes) // 2, at, dtype=np.int32))
    wanted = jnp.asarray(rng.uniform(size=at) < WANTED)
    return [
        *found,
        (nearest_code, [features, codes], False),
        (codes_at_ranks, [features, codes, ranks, wanted], False),
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row, at most")
    parser.add_argument("--rounds", type=int, default=3, help="for each row, at least")
    parser.add_argument("--dtype", default="float32", help="of the layers")
    args = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, {jax.default_backend()}, jax {jax.__version__}")
    print(ROW.format(*HEAD))
    for which, name in enumerate(("paper", "small")):
        for function, arguments, has_gradient in cases(which, args.dtype):
            programs = [
                compiled(function, arguments, gradient, plain)
                for gradient in (False, True)[: 1 + has_gradient]
                for plain in (False, True)
            ]
            times = medians(programs, args.seconds, args.rounds)
            figures = []
            for fast, plain in zip(times[::2], times[1::2], strict=True):
                figures += [f"{1e3 * fast:.2f}", f"{1e3 * plain:.2f}", f"{plain / fast:.2f}"]
            sizes = " ".join("x".join(map(str, a.shape)) for a in arguments[:2])
            figures += ["-"] * (6 - len(figures))
            print(ROW.format(function.__name__, name, sizes, *figures), flush=True)


if __name__ == "__main__":
    main()
