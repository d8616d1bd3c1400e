"""How many steps a stage gets in the seconds that are left, where a run begins, and its speed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WARMUP_STEPS = 500
_WARMUP_SHARE = 10  # at most one step in so many

# Dense products a second that NVIDIA publishes for H100 and H200 (SXM).
_PEAKS = {
    "bfloat16": {"bfloat16": 989e12},
    # JAX shortens the factors of float32 products to TF32 on these chips, but of the distances.
    "float32": {"float32": 67e12, "tensorfloat32": 494.5e12},
}


class Begin(NamedTuple):
    """Where a run begins.

    Attributes:
      stages: those to train.
      warm_start: modules that start trained.
    """

    stages: tuple[str, ...]
    warm_start: tuple[str, ...]


def fit_steps(
    seconds_per_step: Mapping[str, float], wanted: Mapping[str, int], seconds: float
) -> dict[str, int]:
    """Steps of each stage that end in time, in the proportions of those that are wanted.

    Args:
      seconds_per_step: of each stage.
      wanted: steps of each stage if there is time enough; none gets more.
      seconds: for all of them.

    Returns:
      Steps of each stage, rounded down to two digits; 0 where there is no time for a single one.
    """
    total = sum(wanted[name] * each for name, each in seconds_per_step.items())
    share = min(1.0, max(0.0, seconds) / total)
    return {name: _two_digits(int(wanted[name] * share)) for name in seconds_per_step}


def _two_digits(number: int) -> int:
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def warmup(steps: int) -> int:
    """Steps of a stage in which its rate rises."""
    return min(WARMUP_STEPS, steps // _WARMUP_SHARE)


def begin_at(
    metadata: Mapping[str, Any] | None,
    modules: Sequence[str],
    stages: Sequence[str],
    trains: Mapping[str, Sequence[str]],
) -> Begin:
    """Where to go on from weights: with the first stage that they are not through with.

    Weights that are through with all stages begin a second round, from the first stage on.

    Args:
      metadata: of the weights; None where there are none.
      modules: what they hold.
      stages: all stages, in order.
      trains: the modules that each stage trains.

    Returns:
      The stages left, and those of their modules that the weights hold.
    """
    if metadata is None:
        return Begin(tuple(stages), ())
    reached = metadata["stage"]
    through = metadata["step"] >= metadata["config"][reached]["steps"]
    first = (stages.index(reached) + through) % len(stages)
    left = tuple(stages[first:])
    trained = {module for stage in left for module in trains[stage]}
    return Begin(left, tuple(module for module in modules if module in trained))


def shares_of_peak(device: str, dtype: str, flops_per_second: float) -> dict[str, float]:
    """A rate over the chip's published peaks; empty for a chip that is not known.

    Args:
      device: its kind, as JAX tells it.
      dtype: of the computation.
      flops_per_second: operations a second.
    """
    if not any(chip in device for chip in ("H100", "H200")):
        return {}
    return {unit: flops_per_second / peak for unit, peak in _PEAKS[dtype].items()}
