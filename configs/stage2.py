"""Stage 2 at the paper's settings: restrictions, object decoder and detector on one surface.

python launch/main.py --config=configs/stage2.py --workdir=runs/stage2 \
    --config.surface=/data/bottle --config.init_from=runs/stage1

100,000 steps of 8 images. ``--config=configs/stage2.py:ksdd2`` is for KolektorSDD2: 640 x 224.
"""

from ml_collections import ConfigDict

from vqad.training.config import base_config


def get_config(surface: str = "") -> ConfigDict:
    """Returns the configuration for a surface: ``ksdd2``, or nothing for 256 x 256."""
    config = base_config(surface)
    config.stages = ("stage2",)
    return config
