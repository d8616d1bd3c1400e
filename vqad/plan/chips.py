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


# From a chip to its neighbour, whatever the size; after https://jax-ml.github.io/scaling-book/sharding/
HOP_SECONDS = 1e-6


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
        more = rf"(x[1-9]\d{{0,3}}){{{chip.dimensions - 1}}}" if chip else ""
        if chip is None or not re.fullmatch(rf"[1-9]\d{{0,3}}{more}", shape):
            raise VqadError(
                f"--topology={name}: no such slice; give {', '.join(CHIPS)} with the chips along "
                "each side, as v5e:2x4 or v4:2x2x4"
            )
        return cls(name, chip, tuple(int(side) for side in shape.split("x")))

    @property
    def chips(self) -> int:
        """How many chips there are."""
        return math.prod(self.sides)

    def exchange_seconds(self, kind: str, nbytes: int, group: int) -> float:
        """Seconds of a collective over a ring through its devices, in both directions at once.

        A ring uses two of a chip's four or six links, so that it is there in any slice. What is
        small goes along one side of the slice after the other; round once, or twice in an
        all-reduce. A permutation is taken for one among neighbours, over one link.
        """
        if group == 1:
            return 0.0
        if kind == "collective-permute":
            return nbytes / self.chip.link_bandwidth + HOP_SECONDS
        rounds = 2 if kind == "all-reduce" else 1
        along_sides = sum(side - 1 for side in self.sides)
        hops = along_sides if group == self.chips else min(group - 1, along_sides)
        share = (group - 1) / group * nbytes
        return rounds * (share / (2 * self.chip.link_bandwidth) + hops * HOP_SECONDS)
