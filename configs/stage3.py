"""Stage 3 at the paper's settings: the upsampler on one surface, then the evaluation.

python launch/main.py --config=configs/stage3.py --workdir=runs/stage3 \
    --config.surface=/data/bottle --config.init_from=runs/stage2

20,000 steps of 8 images. Surfaces by name: ``--config=configs/stage3.py:ksdd2``
(KolektorSDD2 at 640 x 224), ``:ksdd2_supervised_16``, ``:mvtec_ad/bottle``; with
``--config.manual_dir=/data/KolektorSDD2.zip`` they are prepared first. ``:folder`` is the default.
"""

from ml_collections import ConfigDict

from vqad.config import base_config


def get_config(surface: str = "") -> ConfigDict:
    """Returns the configuration for a surface, as ``base_config`` names it."""
    config = base_config(surface)
    config.stages = ("stage3",)
    return config
