"""Stage 3 at the paper's settings: the upsampler on one surface, then the judgement.

python launch/main.py --config=configs/stage3.py --workdir=runs/stage3 \
    --config.surface=/data/bottle --config.init_from=runs/stage2

20,000 steps of 8 images. ``--config=configs/stage3.py:ksdd2`` is for KolektorSDD2: 640 x 224.
"""

from ml_collections import ConfigDict

from vqad.training.config import base_config


def get_config(surface: str = "") -> ConfigDict:
    """Returns the configuration for a surface.

    Args:
      surface: empty for 256 x 256, or ``ksdd2``.

    Raises:
      ValueError: another surface.
    """
    config = base_config()
    config.stages = ("stage3",)
    if surface == "ksdd2":
        config.image_size = (640, 224)
    elif surface:
        raise ValueError(f"configs/stage3.py:{surface}: no such surface; give ksdd2 or nothing")
    return config
