"""The stages of training in their order; ``PAPER`` are the paper's three."""

from vqad.stages.stage import MODULES, Defects, Outcome, Stage
from vqad.stages.stage1 import STAGE1
from vqad.stages.stage2 import DETECTOR, OBJECT_DECODER, RESTRICTIONS, STAGE2
from vqad.stages.stage3 import STAGE3

PAPER = {stage.name: stage for stage in (STAGE1, STAGE2, STAGE3)}
STAGES = {
    stage.name: stage for stage in (STAGE1, STAGE2, RESTRICTIONS, OBJECT_DECODER, DETECTOR, STAGE3)
}

__all__ = ["MODULES", "PAPER", "STAGES", "Defects", "Outcome", "Stage"]
