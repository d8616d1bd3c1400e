"""Reads a compiled program's text (HLO): its instructions, and how often each of them runs."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = ")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\](?:\{([^{}]*)\})?")
_TILE = re.compile(r"T\(([\d,*]+)\)")
_CALLED = re.compile(r"\b(calls|to_apply|body|condition)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.-]+)")


@dataclasses.dataclass(frozen=True)
class Array:
    """An array as an instruction takes or gives it.

    Attributes:
      dtype: as HLO writes it: ``f32``, ``bf16``, ``u8``, ``pred``, ...
      shape: sides.
      layout: what stands in braces behind it: order of the sides, tiles, memory.
    """

    dtype: str
    shape: tuple[int, ...]
    layout: str = ""

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def element_bytes(self) -> int:
        """Bytes of an element; 0 of what holds no data, as a token."""
        bits = re.search(r"\d+", self.dtype)
        return -(-int(bits[0]) // 8) if bits else int(self.dtype == "pred")

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.size * self.element_bytes

    @property
    def padded_bytes(self) -> int:
        """Bytes in memory: TPUs pad the sides that are stored last to whole tiles."""
        order, _, rest = self.layout.partition(":")
        tile = _TILE.search(rest)
        if not tile or not order or "*" in tile[1]:
            return self.nbytes
        sides, last = list(self.shape), [int(side) for side in order.split(",")]
        for side, tiled in zip(last, reversed(tile[1].split(",")), strict=False):
            sides[side] = -(-sides[side] // int(tiled)) * int(tiled)
        return math.prod(sides) * self.element_bytes

    @property
    def in_hbm(self) -> bool:
        """Whether it lies in the device's main memory, not in a memory of the core's."""
        return "S(" not in self.layout


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
      name: its name.
      opcode: ``fusion``, ``convolution``, ``all-reduce``, ...
      results: what it gives, a tuple flattened.
      operands: names of the instructions that it takes from.
      text: what stands in the parentheses and behind them.
      root: whether its computation gives what it gives.
    """

    name: str
    opcode: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    text: str
    root: bool

    def called(self, role: str) -> str | None:
        """Name of the computation that it calls as ``calls``, ``body`` or ``condition``."""
        return next((name for kind, name in _CALLED.findall(self.text) if kind == role), None)


Computation = dict[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Executed:
    """An instruction that runs, of a computation that is not the inside of a fusion.

    Attributes:
      instruction: the instruction.
      computation: where it stands.
      times: how often it runs in one execution of the program.
    """

    instruction: Instruction
    computation: Computation
    times: int


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program.

    Attributes:
      computations: by name.
      entry: name of the one that starts.
    """

    computations: Mapping[str, Computation]
    entry: str

    @classmethod
    def parse(cls, text: str) -> "Program":
        """Reads what ``jax.stages.Compiled.as_text`` gives."""
        computations, current, entry = {}, None, ""
        for line in text.splitlines():
            if header := _HEADER.match(line):
                current = computations.setdefault(header[2], {})
                entry = header[2] if header[1] else entry
            elif current is not None and (start := _INSTRUCTION.match(line)):
                found = _instruction(start[2], bool(start[1]), line[start.end() :])
                current[found.name] = found
        return cls(computations, entry)

    def executed(self) -> Iterator[Executed]:
        """All that runs, loops with the number of their turns."""
        yield from self._executed(self.entry, 1)

    def inside(self, item: Executed) -> Iterator[Executed]:
        """An instruction, or the instructions that a fusion is made of."""
        if item.instruction.opcode != "fusion":
            yield item
            return
        fused = self.computations[item.instruction.called("calls")]
        for inner in fused.values():
            yield from self.inside(Executed(inner, fused, item.times))

    def unknown_loops(self) -> list[str]:
        """Names of the loops whose number of turns is not known; these count as one turn."""
        return [
            item.instruction.name
            for item in self.executed()
            if item.instruction.opcode == "while" and self._turns(item) is None
        ]

    def _executed(self, name: str, times: int) -> Iterator[Executed]:
        computation = self.computations[name]
        for instruction in computation.values():
            item = Executed(instruction, computation, times)
            yield item
            if instruction.opcode == "while":
                turns = times * (self._turns(item) or 1)
                for role in ("condition", "body"):
                    yield from self._executed(instruction.called(role), turns)
            elif instruction.opcode in ("call", "async-start"):
                called = instruction.called("calls") or instruction.called("to_apply")
                yield from self._executed(called, times)
            elif instruction.opcode == "conditional":
                for names, single in _BRANCHES.findall(instruction.text):
                    for branch in re.findall(r"[\w.-]+", names or single):
                        yield from self._executed(branch, times)

    def _turns(self, loop: Executed) -> int | None:
        """Turns of a loop that counts a whole number up by one to a limit."""
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.instruction.text)
        if known:
            return int(known[1])
        condition = self.computations[loop.instruction.called("condition")]
        body = self.computations[loop.instruction.called("body")]
        test, after = _root(condition), _root(body)
        if test.opcode != "compare" or "direction=LT" not in test.text or after.opcode != "tuple":
            return None
        counter = condition.get(test.operands[0])
        if counter is None or counter.opcode != "get-tuple-element":
            return None
        index = _index(counter)
        step = body[after.operands[index]]
        before = loop.computation[loop.instruction.operands[0]]
        if step.opcode != "add" or before.opcode != "tuple":
            return None
        steps = [_constant(body, name) for name in step.operands]
        start = _constant(loop.computation, before.operands[index])
        limit = _constant(condition, test.operands[1])
        if limit is None:  # it may be carried through the loop
            carried = condition[test.operands[1]]
            if carried.opcode == "get-tuple-element":
                limit = _constant(loop.computation, before.operands[_index(carried)])
        if 1 not in steps or start is None or limit is None:
            return None
        return max(0, limit - start)


def _root(computation: Computation) -> Instruction:
    return next(instruction for instruction in computation.values() if instruction.root)


def _index(element: Instruction) -> int:
    return int(re.search(r"index=(\d+)", element.text)[1])


def _constant(computation: Computation, name: str) -> int | None:
    """The value of a whole number, through copies."""
    found = computation[name]
    while found.opcode in ("copy", "bitcast"):
        found = computation[found.operands[0]]
    if found.opcode != "constant" or found.results[0].dtype not in ("s32", "u32", "s64", "u64"):
        return None
    value = re.match(r"\((-?\d+)\)", found.text)
    return int(value[1]) if value else None


def _instruction(name: str, root: bool, rest: str) -> Instruction:
    end = _closing(rest, 0) if rest.startswith("(") else rest.index(" ")
    results, rest = rest[:end], rest[end:].lstrip()
    opcode, _, _ = rest.partition("(")
    text = rest[len(opcode) :]
    operands = re.findall(r"%([\w.-]+)", text[: _closing(text, 0)])
    return Instruction(name, opcode, _arrays(results), tuple(operands), text, root)


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at ``start`` is closed, and one further."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at + 1
    return len(text)


def _arrays(text: str) -> tuple[Array, ...]:
    """The arrays that a text names, as ``(f32[8,3]{1,0:T(8,128)}, s32[])``."""
    return tuple(
        Array(dtype, tuple(int(side) for side in sides.split(",") if side), layout)
        for dtype, sides, layout in _ARRAY.findall(text)
    )
