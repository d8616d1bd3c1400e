"""Stage 1 at the paper's settings: the discrete autoencoder on natural images (ImageNet).

python launch/main.py --config=configs/stage1.py --workdir=runs/stage1 \
    --config.pictures=tfds:imagenet2012

200,000 steps of 32 images of 256 x 256. ``config.pictures`` may be any folder of photographs.
"""

from ml_collections import ConfigDict

from vqad.config import base_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = base_config()
    config.stages = ("stage1",)
    return config
