"""A plan in words and as a row of a table."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

from vqad.plan.chips import Topology
from vqad.plan.work import Work, total_bytes

FOOTER = """\
A prediction from the compiled program and published figures (a roofline), not a measurement: real
steps take longer. Counted are convolutions and matrix products (a float32 product that is asked
for in full is six of bfloat16), what is read from and written to main memory, and collectives that
nothing hides. Not counted: other arithmetic, matrix units that are not filled, loading images."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A stage's step on a slice."""

    stage: str
    topology: Topology
    images: int  # in a step
    steps: int  # that the configuration asks for
    memory: Mapping[str, int]  # bytes of a chip's main memory, by what they hold
    work: Work

    @property
    def seconds(self) -> dict[str, float]:
        """Of a step, by what limits it: the chip's published peaks; no exchange is hidden."""
        chip, collectives = self.topology.chip, self.work.collectives
        exchange = self.topology.exchange_seconds
        return {
            "matrix units": self.work.products / chip.flops,
            "memory bandwidth": self.work.hbm_bytes / chip.hbm_bandwidth,
            "interconnect": sum(c.times * exchange(c.kind, c.nbytes, c.group) for c in collectives),
        }

    @property
    def step(self) -> float:
        """Seconds of a step at the least: multiplying and moving overlap, the exchange does not."""
        products, memory, exchange = self.seconds.values()
        return max(products, memory) + exchange


def describe(plan: Plan) -> str:
    """A plan in lines for a person."""
    work, cells = plan.work, _cells(plan)
    limits = ", ".join(f"{name} {_ms(seconds)}" for name, seconds in plan.seconds.items())
    parts = ", ".join(f"{name} {_gib(count)}" for name, count in plan.memory.items())
    lines = [
        f"{plan.stage} on {plan.topology.name}: {plan.topology.chips} chips, {plan.images} images "
        f"a step, {cells['images per chip']} per chip",
        f"  memory per chip: {cells['GiB per chip']} GiB ({parts})",
        f"  per chip: {work.flops / 1e9:.1f} GFLOP, as bfloat16 {work.products / 1e9:.1f}; "
        f"{cells['GB moved']} GB to and from memory",
        f"  collectives: {total_bytes(work.collectives) / 1e6:.1f} MB",
    ]
    for one in work.collectives:
        lines.append(
            f"    {one.kind} of {one.nbytes / 1e6:.3f} MB among {one.group} chips, {one.times} x a "
            f"step: {one.shapes}"
        )
    if work.unknown_loops:
        lines.append(f"  loops of unknown length, counted once: {', '.join(work.unknown_loops)}")
    lines += [
        f"  predicted step: {cells['step, ms']} ms ({limits}), bound by {cells['bound by']}",
        f"  {cells['images/s']} images/s; all steps: {cells['all steps']}",
    ]
    return "\n".join(lines)


def table(plans: Sequence[Plan]) -> str:
    """Plans as a table in Markdown.

    The last column is the first slice's time of a step over this one's, for slices of the same
    chips with the same images per chip.
    """
    rows, first = [], {}
    for plan in plans:
        cells = _cells(plan)
        alike = first.setdefault((plan.stage, plan.topology.chip, cells["images per chip"]), plan)
        scaling = f"{alike.step / plan.step:.1%}"
        rows.append({**cells, "weak scaling": "-" if alike is plan else scaling})
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(plan: Plan) -> dict[str, str]:
    work, chip, whole = plan.work, plan.topology.chip, plan.steps * plan.step
    kinds = defaultdict(list)
    for one in work.collectives:
        kinds[one.kind].append(one)
    collectives = (
        f"{sum(one.times for one in those)} {kind}, {total_bytes(those) / 1e6:.1f} MB"
        for kind, those in kinds.items()
    )
    hours = f"{whole / 3600:.1f} h" if whole >= 3600 else f"{whole / 60:.1f} min"
    return {
        "stage": plan.stage,
        "slice": plan.topology.name,
        "images per chip": str(plan.images // plan.topology.chips),
        "GiB per chip": f"{_gib(sum(plan.memory.values()))} of {_gib(chip.hbm_bytes)}",
        "GFLOP, as bfloat16": f"{work.flops / 1e9:.0f}, {work.products / 1e9:.0f}",
        "GB moved": f"{work.hbm_bytes / 1e9:.2f}",
        "collectives": "; ".join(collectives) or "none",
        "step, ms": _ms(plan.step),
        "bound by": max(plan.seconds, key=plan.seconds.__getitem__),
        "images/s": f"{plan.images / plan.step:,.0f}",
        "all steps": f"{plan.steps:,} in {hours}",
    }


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"
