"""How long a step takes at the least, by the chip's published figures (a roofline)."""

import dataclasses

import numpy as np

from vqad.plan.chips import Topology
from vqad.plan.work import Collective, Work

# From a chip to its neighbour, whatever the size.
HOP_SECONDS = 1e-6  # after https://jax-ml.github.io/scaling-book/sharding/


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Seconds of a step on each of the limits."""

    products: float  # matrix units at their peak
    memory: float  # main memory at its peak
    exchange: float  # collectives, none of them hidden behind other work

    @property
    def step(self) -> float:
        """Seconds of a step: multiplying and moving overlap, the exchange does not."""
        return max(self.products, self.memory) + self.exchange

    @property
    def limit(self) -> str:
        """What takes longest."""
        names = ("matrix units", "memory bandwidth", "interconnect")
        return names[np.argmax([self.products, self.memory, self.exchange])]


def predict(work: Work, topology: Topology) -> Prediction:
    """Predicts a step from what each device does and exchanges."""
    return Prediction(
        work.products / topology.chip.flops,
        work.hbm_bytes / topology.chip.hbm_bandwidth,
        sum(one.times * exchange_seconds(one, topology) for one in work.collectives),
    )


def exchange_seconds(one: Collective, topology: Topology) -> float:
    """Seconds of a collective over a ring through its devices, in both directions at once.

    A ring uses two of a chip's four or six links, so that it is there in any slice. What is small
    goes along one side of the slice after the other; round once, or twice in an all-reduce. A
    permutation is taken for one among neighbours, each of which sends everything over one link.
    """
    if one.group == 1:
        return 0.0
    if one.kind == "collective-permute":
        return one.nbytes / topology.chip.link_bandwidth + HOP_SECONDS
    rounds = 2 if one.kind == "all-reduce" else 1
    along_sides = sum(side - 1 for side in topology.sides)
    hops = along_sides if one.group == topology.chips else min(one.group - 1, along_sides)
    share = (one.group - 1) / one.group * one.nbytes
    return rounds * (share / (2 * topology.chip.link_bandwidth) + hops * HOP_SECONDS)
