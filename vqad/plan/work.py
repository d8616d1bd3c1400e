"""What a device does in a compiled program: multiplications, and bytes to and from its memory."""

import dataclasses
import re
from collections.abc import Iterator

import numpy as np

from vqad.plan.hlo import Array, Computation, Executed, Instruction, Program

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
}
# Their computations are looked into instead.
_CALLS = {"while", "call", "conditional", "async-start", "async-update", "async-done"}
_PARTS = ("dynamic-slice", "slice", "gather")


@dataclasses.dataclass(frozen=True)
class Work:
    """Of one device, in one step.

    Attributes:
      flops: multiplications and additions of convolutions and matrix products.
      products: the same in bfloat16 passes: six times as many where float32 is asked for in full.
      hbm_bytes: bytes read from and written to the device's main memory.
    """

    flops: int
    products: int
    hbm_bytes: int


def work(program: Program) -> Work:
    """Counts a program's work, loops as often as they turn."""
    flops = products = hbm_bytes = 0
    for item in program.executed():
        for inner in program.inside(item):
            if inner.instruction.opcode in ("convolution", "dot"):
                count = item.times * multiplications(inner.instruction, inner.computation)
                flops += count
                products += count * _passes(inner.instruction, inner.computation)
        hbm_bytes += item.times * _hbm_bytes(program, item)
    return Work(flops, products, hbm_bytes)


def multiplications(instruction: Instruction, computation: Computation) -> int:
    """Multiplications and additions of a convolution or a matrix product, padding left out."""
    result = instruction.results[0]
    left, right = (_result(computation, name) for name in instruction.operands[:2])
    if instruction.opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.text)[1]
        sides = [left.shape[int(side)] for side in contracted.split(",") if side]
        return 2 * result.size * int(np.prod(sides, dtype=np.int64))
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.text)
    of_left, of_right, of_result = labels[1], labels[2], labels[3]
    spatial = sorted(set(of_result) - {"b", "f"})
    count = 1
    for index, side in enumerate(spatial):
        count *= _pairs(
            taken=left.shape[of_left.index(side)],
            kernel=right.shape[of_right.index(side)],
            given=result.shape[of_result.index(side)],
            stride=int(_window(instruction, "stride", index, "1")),
            before=int(_window(instruction, "pad", index, "0_0").split("_")[0]),
            spread=int(_window(instruction, "lhs_dilate", index, "1")),
            kernel_spread=int(_window(instruction, "rhs_dilate", index, "1")),
        )
    groups = re.search(r"batch_group_count=(\d+)", instruction.text)
    images = left.shape[of_left.index("b")] // (int(groups[1]) if groups else 1)
    features = right.shape[of_right.index("i")] * result.shape[of_result.index("f")]
    return 2 * count * images * features


def _window(instruction: Instruction, field: str, index: int, default: str) -> str:
    """A field of a convolution's window for one side, as ``3`` of ``size=3x4``."""
    found = re.search(rf"window=\{{[^}}]*\b{field}=([\d_x-]+)", instruction.text)
    return found[1].split("x")[index] if found else default


def _pairs(
    taken: int, kernel: int, given: int, stride: int, before: int, spread: int, kernel_spread: int
) -> int:
    """Along a side of a convolution: pairs of an element given and one taken, no padding."""
    at = np.arange(given)[:, None] * stride + np.arange(kernel) * kernel_spread - before
    valid = (at >= 0) & (at < (taken - 1) * spread + 1) & (at % spread == 0)
    return int(valid.sum())


def _passes(instruction: Instruction, computation: Computation) -> int:
    taken = [_result(computation, name).dtype for name in instruction.operands[:2]]
    asked = re.search(r"operand_precision=\{(\w+),(\w+)\}", instruction.text)
    if asked is None or "f32" not in taken:
        return 1
    return max(_PASSES[asked[1]], _PASSES[asked[2]])


def _result(computation: Computation, name: str) -> Array:
    return computation[name].results[0]


def _hbm_bytes(program: Program, item: Executed) -> int:
    """Bytes that an instruction reads from and writes to main memory."""
    instruction = item.instruction
    if instruction.opcode in _NO_WORK | _CALLS:
        return 0
    if instruction.opcode in ("copy-start", "slice-start"):  # (from, to, ...), of to's size
        taken, given = instruction.results[:2]
        if instruction.opcode == "copy-start":
            taken, given = given, taken
        moved = min(taken.padded_bytes, given.padded_bytes)
        return moved * (taken.in_hbm + given.in_hbm)
    fused = None
    if instruction.opcode == "fusion":
        fused = program.computations[instruction.called("calls")]
    taken = 0
    for number, name in enumerate(instruction.operands):
        arrays = [a for a in item.computation[name].results if a.in_hbm]
        whole = sum(array.padded_bytes for array in arrays)
        taken += min(whole, _read(instruction, fused, number, whole))
    return taken + sum(_written(instruction, item.computation, fused))


def _read(instruction: Instruction, fused: Computation | None, number: int, whole: int) -> int:
    """Bytes that are read of an operand, of which a part may be all that is needed."""
    if fused is None:
        if instruction.opcode in _PARTS and number == 0:
            return instruction.results[0].padded_bytes
        return 0 if instruction.opcode == "dynamic-update-slice" and number == 0 else whole
    parameter = next(
        inner.name
        for inner in fused.values()
        if inner.opcode == "parameter" and inner.text.startswith(f"({number})")
    )
    parts = 0
    for user in (inner for inner in fused.values() if parameter in inner.operands):
        first = user.operands[0] == parameter and user.operands.count(parameter) == 1
        if first and user.opcode in _PARTS:
            parts += user.results[0].padded_bytes
        elif not (first and user.opcode == "dynamic-update-slice"):
            return whole
    return parts


def _written(
    instruction: Instruction, computation: Computation, fused: Computation | None
) -> Iterator[int]:
    """Bytes of each result that are written; of one that is changed in place, the part."""
    inner, roots = computation, [instruction]
    if fused is not None:
        inner = fused
        root = next(one for one in fused.values() if one.root)
        roots = [fused[name] for name in root.operands] if root.opcode == "tuple" else [root]
    results = instruction.results
    if len(roots) != len(results):
        roots = [instruction] * len(results)
    for root, result in zip(roots, results, strict=True):
        if not result.in_hbm:
            yield 0
        elif root.opcode == "dynamic-update-slice":
            yield min(result.padded_bytes, _result(inner, root.operands[1]).padded_bytes)
        else:
            yield result.padded_bytes
