"""Stage 3 at the paper's settings: the upsampler on one surface, then the judgement.

python launch/main.py --config=configs/stage3.py --workdir=runs/stage3 \
    --config.surface=/data/bottle --config.init_from=runs/stage2

20,000 steps of 8 images. ``--config=configs/stage3.py:ksdd2`` is for KolektorSDD2: 640 x 224.
"""

from ml_collections import ConfigDict

from vqad.training.config import base_config


def get_config(surface: str = "") -> ConfigDict:
    """Returns the configuration for a surface: ``ksdd2``, or nothing for 256 x 256."""
    config = base_config(surface)
    config.stages = ("stage3",)
    return config
