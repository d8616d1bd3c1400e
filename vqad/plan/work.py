"""What a device does and exchanges in a compiled program."""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vqad.plan.hlo import Array, Computation, Instruction, executed, root, trip_counts

_COLLECTIVE = re.compile(
    r"(all-reduce|all-gather|reduce-scatter|(?:ragged-)?all-to-all|collective-(?:permute|broadcast))"
    r"(-start)?"
)
# bfloat16 products that make a product of two float32 arrays: jax.lax.Precision's promise on TPUs.
_PASSES = {"default": 1, "high": 3, "highest": 6}

_NO_WORK = {
    "after-all",
    "bitcast",
    "constant",
    "copy-done",
    "get-tuple-element",
    "parameter",
    "partition-id",
    "replica-id",
    "slice-done",
    "tuple",
    # Their computations are looked into instead.
    *("while", "call", "conditional", "async-start", "async-update", "async-done"),
}
_PARTS = ("dynamic-slice", "slice", "gather")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of a program."""

    kind: str  # all-reduce, all-gather, collective-permute, ...
    arrays: tuple[Array, ...]  # whole: what is given, or what a reduce-scatter takes
    group: int  # devices that exchange among themselves
    times: int = 1  # how often it runs in a step; more than once in a loop

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, each time."""
        return sum(array.nbytes for array in self.arrays)

    @property
    def shapes(self) -> str:
        """The largest array and how many there are beside it."""
        first = max(self.arrays, key=lambda array: array.nbytes)
        more = f" and {len(self.arrays) - 1} more" if len(self.arrays) > 1 else ""
        return f"{first.dtype}[{','.join(map(str, first.shape))}]{more}"


def total_bytes(found: Iterable[Collective]) -> int:
    """Bytes of the arrays of all collectives, as often as they run."""
    return sum(one.nbytes * one.times for one in found)


@dataclasses.dataclass(frozen=True)
class Work:
    """Of one device, in one step."""

    flops: int  # multiplications and additions of convolutions and matrix products
    products: int  # in bfloat16 passes: six times as many where float32 is asked for in full
    hbm_bytes: int  # read from and written to the device's main memory
    collectives: Sequence[Collective] = ()  # in the program's order
    unknown_loops: Sequence[str] = ()  # counted once, for want of their number of turns


def work(program: Computation, devices: int) -> Work:
    """Counts the work of a program that so many devices run, loops as often as they turn."""
    flops = products = hbm_bytes = 0
    collectives, unknown_loops = [], []
    for instruction, times in executed(program):
        hbm_bytes += times * _hbm_bytes(instruction)
        if instruction.opcode == "while" and trip_counts(instruction) is None:
            unknown_loops.append(instruction.name)
        for inner in instruction.inside():
            if inner.opcode in ("convolution", "dot"):
                count = times * _multiplications(inner)
                flops += count
                products += count * _passes(inner)
            elif kind := _COLLECTIVE.fullmatch(inner.opcode):
                arrays, group = inner.results, _group(inner, devices)
                if kind[2] and kind[1] != "all-reduce":
                    # (operands, results, ...): the results alone
                    arrays = arrays[len(inner.operands) : 2 * len(inner.operands)]
                if kind[1] == "reduce-scatter":
                    arrays = tuple(
                        dataclasses.replace(a, shape=(a.shape[0] * group, *a.shape[1:]))
                        for a in arrays
                    )
                collectives.append(Collective(kind[1], arrays, group, times))
    return Work(flops, products, hbm_bytes, collectives, unknown_loops)


def _multiplications(one: Instruction) -> int:
    """Multiplications and additions of a convolution or a matrix product, padding left out."""
    left, right = (operand.results[0].shape for operand in one.operands[:2])
    result = one.results[0].shape
    if one.opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.attributes)[1]
        return 2 * math.prod([*result, *(left[int(i)] for i in contracted.split(",") if i)])
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.attributes)
    left, right, result = (
        dict(zip(axes, sides, strict=True))
        for axes, sides in zip(labels.groups(), (left, right, result), strict=True)
    )
    window = re.search(r"window=\{([^}]*)\}", one.attributes)
    fields = dict(field.split("=") for field in window[1].split()) if window else {}
    groups = re.search(r"batch_group_count=(\d+)", one.attributes)
    count = 2 * left["b"] // (int(groups[1]) if groups else 1) * right["i"] * result["f"]
    defaults = {"stride": "1", "pad": "0", "lhs_dilate": "1", "rhs_dilate": "1"}
    for index, side in enumerate(sorted(result.keys() - {"b", "f"})):
        stride, before, spread, kernel_spread = (
            int(fields[name].split("x")[index].split("_")[0]) if name in fields else int(default)
            for name, default in defaults.items()
        )
        at = np.arange(result[side])[:, None] * stride + np.arange(right[side]) * kernel_spread
        at -= before
        inside = (at >= 0) & (at <= (left[side] - 1) * spread) & (at % spread == 0)
        count *= int(inside.sum())
    return count


def _passes(one: Instruction) -> int:
    asked = re.search(r"operand_precision=\{(\w+),(\w+)\}", one.attributes)
    if asked is None or all(operand.results[0].dtype != "f32" for operand in one.operands[:2]):
        return 1
    return max(_PASSES[precision] for precision in asked.groups())


def _hbm_bytes(one: Instruction) -> int:
    """Bytes that an instruction reads from and writes to main memory."""
    if one.opcode in _NO_WORK:
        return 0
    if one.opcode in ("copy-start", "slice-start"):  # what it gives, among others: from and to
        pair = one.results[:2]
        return min(a.padded_bytes for a in pair) * sum(a.in_hbm for a in pair)
    read = 0
    for number, operand in enumerate(one.operands):
        whole = sum(array.padded_bytes for array in operand.results if array.in_hbm)
        read += min(whole, _read(one, number, whole))
    return read + sum(_written(one))


def _read(one: Instruction, number: int, whole: int) -> int:
    """Bytes that are read of an operand, of which a part may be all that is needed."""
    users, taken = [one], one.operands[number]
    if one.opcode == "fusion":
        inside = one.called[0]
        taken = next(i for i in inside if i.opcode == "parameter" and i.arguments == str(number))
        users = [inner for inner in inside if taken in inner.operands]
    elif number:
        return whole
    parts = 0
    for user in users:
        first = user.operands[0] is taken and user.operands.count(taken) == 1
        if first and user.opcode in _PARTS:
            parts += user.results[0].padded_bytes
        elif not (first and user.opcode == "dynamic-update-slice"):
            return whole
    return parts


def _written(one: Instruction) -> Iterator[int]:
    """Bytes of each result that are written; of one that is changed in place, the part."""
    given = [one] * len(one.results)
    if one.opcode == "fusion":
        whole = root(one.called[0])
        roots = whole.operands if whole.opcode == "tuple" else [whole]
        given = roots if len(roots) == len(given) else given
    for source, result in zip(given, one.results, strict=True):
        if not result.in_hbm:
            yield 0
        elif source.opcode == "dynamic-update-slice":
            yield min(result.padded_bytes, source.operands[1].results[0].padded_bytes)
        else:
            yield result.padded_bytes


def _group(one: Instruction, devices: int) -> int:
    """Devices in a group, of the ways to write groups: lists, an arrangement, axes of a mesh."""
    text = one.attributes
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
