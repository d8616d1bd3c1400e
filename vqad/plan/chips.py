"""TPU chips with their published figures, and slices of them."""

import dataclasses
import math
import re

from vqad.errors import VqadError


@dataclasses.dataclass(frozen=True)
class Chip:
    """A chip's published figures; it is one device to JAX."""

    flops: float  # bfloat16 operations a second
    hbm_bytes: int  # main memory
    hbm_bandwidth: float  # bytes a second of main memory
    link_bandwidth: float  # bytes a second of one link to a neighbour, in one direction
    dimensions: int  # of the torus that slices are cut from
    libtpu_config: str = "default"  # what libtpu calls two cores as one device


_GIB = 2**30

# A link's bandwidth is the chip's over its links (4 in two dimensions, 6 in three).
CHIPS = {
    # https://cloud.google.com/tpu/docs/v4; links: Jouppi et al., "TPU v4: An Optically
    # Reconfigurable Supercomputer" (2023), https://arxiv.org/abs/2304.01433, 50 GB/s.
    "v4": Chip(275e12, 32 * _GIB, 1.2e12, 50e9, 3, "megacore"),
    # https://cloud.google.com/tpu/docs/v5e: 1600 Gbit/s in one direction.
    "v5e": Chip(197e12, 16 * _GIB, 819e9, 50e9, 2),
    # https://cloud.google.com/tpu/docs/v5p: 1200 GB/s in both directions.
    "v5p": Chip(459e12, 95 * _GIB, 2765e9, 100e9, 3, "megacore"),
    # https://cloud.google.com/tpu/docs/v6e: 3200 Gbit/s in one direction.
    "v6e": Chip(918e12, 32 * _GIB, 1.6e12, 100e9, 2),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice."""

    name: str  # chip and sides, as v5e:16x16
    chip: Chip
    sides: tuple[int, ...]  # chips along each side

    @classmethod
    def parse(cls, name: str) -> "Topology":
        """Reads a name such as ``v5e:2x4`` or ``v4:2x2x4``; the sides count chips, not cores."""
        kind, _, shape = name.partition(":")
        chip = CHIPS.get(kind)
        if chip is None:
            raise VqadError(
                f"--topology={name}: no such chip; give {', '.join(CHIPS)} with the chips along "
                "each side of the slice, as v5e:2x4 or v4:2x2x4"
            )
        if not re.fullmatch(rf"[1-9]\d{{0,3}}(x[1-9]\d{{0,3}}){{{chip.dimensions - 1}}}", shape):
            example = "x".join(["2", "2", "4"][-chip.dimensions :])
            raise VqadError(
                f"--topology={name}: {kind} has {chip.dimensions} dimensions, as {kind}:{example}"
            )
        return cls(name, chip, tuple(int(side) for side in shape.split("x")))

    @property
    def chips(self) -> int:
        """How many chips there are."""
        return math.prod(self.sides)
