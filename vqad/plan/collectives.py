"""What devices exchange in a compiled program."""

import dataclasses
import math
import re
from collections.abc import Iterable

from vqad.plan.hlo import Array, Instruction, Program

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of a program.

    Attributes:
      kind: one of ``KINDS``.
      arrays: the whole arrays: what an all-reduce gives, an all-gather gives, a reduce-scatter
        takes.
      group: devices that exchange among themselves.
      times: how often it runs in a step; more than once in a loop.
    """

    kind: str
    arrays: tuple[Array, ...]
    group: int
    times: int = 1

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, each time."""
        return sum(array.nbytes for array in self.arrays)

    @property
    def shapes(self) -> str:
        """The largest array and how many there are beside it."""
        first = max(self.arrays, key=lambda array: array.nbytes)
        name = f"{first.dtype}[{','.join(map(str, first.shape))}]"
        more = len(self.arrays) - 1
        return f"{name} and {more} more" if more else name


def collectives(program: Program, devices: int) -> list[Collective]:
    """The collectives of a program, in its order.

    Args:
      program: the program.
      devices: how many run it.
    """
    found = []
    inner = (inner for item in program.executed() for inner in program.inside(item))
    for item in inner:
        instruction = item.instruction
        kind = instruction.opcode.removesuffix("-start")
        if kind not in KINDS:
            continue
        group = _group(instruction, devices)
        arrays = instruction.results
        if instruction.opcode.endswith("-start") and kind != "all-reduce":
            # (operands, results, ...): the results alone
            count = len(instruction.operands)
            arrays = arrays[count : 2 * count]
        if kind == "reduce-scatter":
            arrays = tuple(
                dataclasses.replace(a, shape=(a.shape[0] * group, *a.shape[1:])) for a in arrays
            )
        found.append(Collective(kind, arrays, group, item.times))
    return found


def total_bytes(found: Iterable[Collective]) -> int:
    """Bytes of the arrays of all collectives, as often as they run."""
    return sum(one.nbytes * one.times for one in found)


def _group(instruction: Instruction, devices: int) -> int:
    """Devices in a group, of the ways to write groups: lists, an arrangement, axes of a mesh."""
    text = instruction.text
    if "source_target_pairs=" in text:
        return 2
    if lists := re.search(r"replica_groups=\{\{([\d,]*)\}", text):
        return len(lists[1].split(","))
    if arranged := re.search(r"replica_groups=\[(\d+),(\d+)\]<=", text):
        return int(arranged[2])
    if mesh := re.search(r"replica_groups=\w+\[([^\]]*)\] ?\{([^}]*)\}", text):
        sides = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
        named = re.findall(r"'(\w+)'", mesh[2])
        return math.prod(int(sides[name]) for name in named if name in sides)
    return devices
