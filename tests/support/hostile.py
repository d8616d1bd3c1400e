"""The readers of what others may hand over, each with a strategy of hostile input to it.

A reader is a class: made with a folder to keep sound input in, it has some ``sound`` samples and a
strategy of hostile ``samples``; ``lay`` puts one into an empty folder, and ``read`` reads it every
way that there is, and may raise VqadError alone. With ``strict`` the first way must not either.
"""

from hostile_data import Archives, Pictures, Prepared
from hostile_models import Checkpoint, Config, Exports, Weights
from hostile_results import Results

READERS = {
    "config": Config,
    "checkpoint": Checkpoint,
    "pictures": Pictures,
    "prepared": Prepared,
    "weights": Weights,
    "archives": Archives,
    "exports": Exports,
    "results": Results,
}
