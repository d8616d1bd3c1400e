"""Stage 2 at the paper's settings: restrictions, object decoder and detector on one surface.

python launch/main.py --config=configs/stage2.py --workdir=runs/stage2 \
    --config.surface=/data/bottle --config.init_from=runs/stage1

100,000 steps of 8 images. ``--config=configs/stage2.py:ksdd2`` is for KolektorSDD2: 640 x 224.
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
    config.stages = ("stage2",)
    if surface == "ksdd2":
        config.image_size = (640, 224)
    elif surface:
        raise ValueError(f"configs/stage2.py:{surface}: no such surface; give ksdd2 or nothing")
    return config
