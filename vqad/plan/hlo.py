"""Reads a compiled program's text (HLO): its instructions, and how often each of them runs."""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence

_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
# ROOT name = results opcode(arguments), attributes
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*?)\)(, .*)?$")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\](?:\{([^{}]*)\})?")
_NAME = re.compile(r"%([\w.-]+)")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|\w+_computations?)=\{?(%[\w.-]+(?:, %[\w.-]+)*)"
)
_RUNNING_OTHERS = ("while", "call", "conditional", "async-start")


@dataclasses.dataclass(frozen=True)
class Array:
    """An array as an instruction takes or gives it."""

    dtype: str  # as HLO writes it: f32, bf16, u8, pred, ...
    shape: tuple[int, ...]
    layout: str = ""  # what stands in braces behind it: order of the sides, tiles, memory

    @property
    def element_bytes(self) -> int:
        """Bytes of an element; 0 of what holds no data, as a token."""
        bits = re.search(r"\d+", self.dtype)
        return -(-int(bits[0]) // 8) if bits else int(self.dtype == "pred")

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return math.prod(self.shape) * self.element_bytes

    @property
    def padded_bytes(self) -> int:
        """Bytes in memory: TPUs pad the sides that are stored last to whole tiles."""
        order, _, rest = self.layout.partition(":")
        tile = re.search(r"T\(([\d,]+)\)", rest)
        if not tile or not order:
            return self.nbytes
        sides, last = list(self.shape), [int(side) for side in order.split(",")]
        for side, tiled in zip(last, reversed(tile[1].split(",")), strict=False):
            sides[side] = -(-sides[side] // int(tiled)) * int(tiled)
        return math.prod(sides) * self.element_bytes

    @property
    def in_hbm(self) -> bool:
        """Whether it lies in the device's main memory, not in a memory of the core's."""
        return "S(" not in self.layout


@dataclasses.dataclass(frozen=True, eq=False)
class Instruction:
    """One instruction of a computation."""

    name: str
    opcode: str  # fusion, convolution, all-reduce, ...
    results: tuple[Array, ...]  # a tuple flattened
    operands: tuple["Instruction", ...]
    arguments: str  # what stands in the parentheses, as the number of a parameter
    attributes: str  # what stands behind them
    called: Sequence["Computation"]  # of a loop its condition and its body
    root: bool  # whether its computation gives what it gives

    def inside(self) -> Iterator["Instruction"]:
        """The instructions that a fusion is made of; of any other, itself."""
        if self.opcode != "fusion":
            yield self
            return
        for inner in self.called[0]:
            yield from inner.inside()


Computation = list[Instruction]


def parse(text: str) -> Computation:
    """The computation that starts a program, of the text of ``jax.stages.Compiled.as_text``."""
    computations: dict[str, Computation] = {}
    current, entry, known = [], [], {}
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current, known = computations.setdefault(header[2], []), {}
            entry = current if header[1] else entry
        elif found := _INSTRUCTION.match(line):
            root, name, results, opcode, arguments, attributes = found.groups(default="")
            # Operands and computations stand above what uses them.
            operands = tuple(known[operand] for operand in _NAME.findall(arguments))
            listed = _NAME.findall(" ".join(_CALLED.findall(attributes)))
            called = [computations[other] for other in listed]
            known[name] = Instruction(
                name, opcode, _arrays(results), operands, arguments, attributes, called, bool(root)
            )
            current.append(known[name])
    return entry


def executed(computation: Computation, times: int = 1) -> Iterator[tuple[Instruction, int]]:
    """All that runs, and how often in one execution; a loop of unknown length counts once."""
    for instruction in computation:
        yield instruction, times
        if instruction.opcode in _RUNNING_OTHERS:
            turns = trip_counts(instruction) if instruction.opcode == "while" else 1
            for called in instruction.called:
                yield from executed(called, times * (turns or 1))


def trip_counts(loop: Instruction) -> int | None:
    """Turns of a loop that counts a whole number up by one to a limit; None of any other."""
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes)
    if known:
        return int(known[1])
    (test, after), before = map(root, loop.called), loop.operands[0]
    if (test.opcode, after.opcode, before.opcode) != ("compare", "tuple", "tuple"):
        return None
    counter = test.operands[0]
    if counter.opcode != "get-tuple-element" or "direction=LT" not in test.attributes:
        return None
    start, limit = (_whole_number(one, before.operands) for one in test.operands)
    step = after.operands[_index(counter)]
    if step.opcode != "add" or 1 not in map(_whole_number, step.operands):
        return None
    return None if start is None or limit is None else max(0, limit - start)


def root(computation: Computation) -> Instruction:
    """What a computation gives."""
    return next(instruction for instruction in computation if instruction.root)


def _whole_number(one: Instruction, carried: Sequence[Instruction] = ()) -> int | None:
    """Value of a constant, through copies and the tuple that a loop is given; None of any other."""
    while one.opcode in ("copy", "bitcast"):
        one = one.operands[0]
    if one.opcode == "get-tuple-element" and carried:
        return _whole_number(carried[_index(one)])
    if one.opcode != "constant" or one.results[0].dtype not in ("s32", "u32", "s64", "u64"):
        return None
    return int(one.arguments) if re.fullmatch(r"-?\d+", one.arguments) else None


def _index(element: Instruction) -> int:
    return int(re.search(r"index=(\d+)", element.attributes)[1])


def _arrays(text: str) -> tuple[Array, ...]:
    """The arrays that a text names, as ``(f32[8,3]{1,0:T(8,128)}, s32[])``."""
    return tuple(
        Array(dtype, tuple(int(side) for side in sides.split(",") if side), layout)
        for dtype, sides, layout in _ARRAY.findall(text)
    )
