"""A plan in words and as a row of a table."""

import dataclasses
from collections.abc import Sequence

from vqad.plan.chips import Topology
from vqad.plan.collectives import Collective, total_bytes
from vqad.plan.predict import Prediction
from vqad.plan.work import Work

FOOTER = """\
A prediction from the compiled program and published figures (a roofline), not a measurement: real
steps take longer. Counted are convolutions and matrix products (a float32 product that is asked
for in full is six of bfloat16), what is read from and written to main memory, and collectives that
nothing hides. Not counted: other arithmetic, matrix units that are not filled, loading images."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A stage's step on a slice.

    Attributes:
      stage: the stage's name.
      topology: the slice.
      images: images in a step.
      steps: steps that the configuration asks for.
      argument_bytes: of a chip's memory: state, frozen variables and batch.
      temporary_bytes: of a chip's memory: activations, and results that are no new state.
      code_bytes: of a chip's memory: the program.
      work: what a chip does.
      collectives: what chips exchange.
      unknown_loops: loops that are counted once, for want of their number of turns.
      prediction: seconds of a step.
    """

    stage: str
    topology: Topology
    images: int
    steps: int
    argument_bytes: int
    temporary_bytes: int
    code_bytes: int
    work: Work
    collectives: Sequence[Collective]
    unknown_loops: Sequence[str]
    prediction: Prediction

    @property
    def images_per_chip(self) -> int:
        """Images of a step on each chip."""
        return self.images // self.topology.chips

    @property
    def memory_bytes(self) -> int:
        """Main memory that a chip needs."""
        return self.argument_bytes + self.temporary_bytes + self.code_bytes

    @property
    def images_per_second(self) -> float:
        """Images that the slice trains on."""
        return self.images / self.prediction.step


def describe(plan: Plan) -> str:
    """A plan in lines for a person."""
    work, seconds = plan.work, plan.prediction
    lines = [
        f"{plan.stage} on {plan.topology.name}: {plan.topology.chips} chips, {plan.images} images "
        f"a step, {plan.images_per_chip} per chip",
        f"  memory per chip: {_gib(plan.memory_bytes)} of "
        f"{_gib(plan.topology.chip.hbm_bytes)} GiB (state and batch "
        f"{_gib(plan.argument_bytes)}, temporary {_gib(plan.temporary_bytes)}, program "
        f"{_gib(plan.code_bytes)})",
        f"  per chip: {work.flops / 1e9:.1f} GFLOP, as bfloat16 {work.products / 1e9:.1f}; "
        f"{work.hbm_bytes / 1e9:.2f} GB to and from memory",
        f"  collectives: {total_bytes(plan.collectives) / 1e6:.1f} MB",
    ]
    for one in plan.collectives:
        lines.append(
            f"    {one.kind} of {one.nbytes / 1e6:.3f} MB among {one.group} chips, {one.times} x a "
            f"step: {one.shapes}"
        )
    if plan.unknown_loops:
        lines.append(f"  loops of unknown length, counted once: {', '.join(plan.unknown_loops)}")
    lines += [
        f"  predicted step: {_ms(seconds.step)} ms (matrix units {_ms(seconds.products)}, memory "
        f"{_ms(seconds.memory)}, interconnect {_ms(seconds.exchange)}), bound by {seconds.limit}",
        f"  {plan.images_per_second:,.0f} images/s; {plan.steps:,} steps: {_duration(plan)}",
    ]
    return "\n".join(lines)


def table(plans: Sequence[Plan]) -> str:
    """Plans as a table in Markdown.

    The last column is the first slice's time of a step over this one's, for slices of the same
    chips with the same images per chip.
    """
    rows = [
        "| stage | slice | images per chip | GiB per chip | GFLOP, as bfloat16 | GB moved | "
        "collectives | step, ms | bound by | images/s | all steps | weak scaling |",
        "|---" * 12 + "|",
    ]
    for plan in plans:
        seconds, work = plan.prediction, plan.work
        cells = [
            plan.stage,
            plan.topology.name,
            str(plan.images_per_chip),
            f"{_gib(plan.memory_bytes)} of {_gib(plan.topology.chip.hbm_bytes)}",
            f"{work.flops / 1e9:.0f}, {work.products / 1e9:.0f}",
            f"{work.hbm_bytes / 1e9:.2f}",
            _kinds(plan.collectives),
            _ms(seconds.step),
            seconds.limit,
            f"{plan.images_per_second:,.0f}",
            f"{plan.steps:,} in {_duration(plan)}",
            _weak_scaling(plan, plans),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _kinds(found: Sequence[Collective]) -> str:
    texts = []
    for kind in dict.fromkeys(one.kind for one in found):
        those = [one for one in found if one.kind == kind]
        count = sum(one.times for one in those)
        texts.append(f"{count} {kind}, {total_bytes(those) / 1e6:.1f} MB")
    return "; ".join(texts) or "none"


def _weak_scaling(plan: Plan, plans: Sequence[Plan]) -> str:
    def alike(other: Plan) -> tuple:
        return other.stage, other.topology.chip, other.images_per_chip

    first = next(other for other in plans if alike(other) == alike(plan))
    return "-" if first is plan else f"{first.prediction.step / plan.prediction.step:.1%}"


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"


def _duration(plan: Plan) -> str:
    seconds = plan.steps * plan.prediction.step
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
