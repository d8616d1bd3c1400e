"""The three stages in their order."""

from vqad.stages.stage import Stage
from vqad.stages.stage1 import STAGE1
from vqad.stages.stage2 import STAGE2
from vqad.stages.stage3 import STAGE3

STAGES = {stage.name: stage for stage in (STAGE1, STAGE2, STAGE3)}


def modules_before(stage: Stage) -> tuple[str, ...]:
    """Modules that the stages before this one train."""
    if stage.needs is None:
        return ()
    before = STAGES[stage.needs]
    return modules_before(before) + before.trains
