"""Pretraining on a corpus of many surfaces: what a real surface's training starts from.

python tools/corpus.py corpus
python launch/main.py --config=configs/pretrain.py:small --workdir=runs/pretrain_small \
    --config.pictures=corpus/train/good

``small`` has the networks of ``configs/small.py``, ``base`` wider ones at 256 x 256, ``full`` the
paper's. Pictures lose their colour half of the time, so that the weights serve grey cameras too.
"""

from ml_collections import ConfigDict

from vqad.config import base_config
from vqad.errors import VqadError

SIZES = {
    "small": {
        "image_size": (128, 128),
        "model": {
            "hiddens": 32,
            "residual_hiddens": 16,
            "code_dim": 32,
            "num_codes": 512,
            "unet_width": 16,
            "score_window": 11,
        },
    },
    "base": {
        "image_size": (256, 256),
        "model": {
            "hiddens": 64,
            "residual_hiddens": 32,
            "code_dim": 64,
            "num_codes": 1024,
            "restriction_width": 48,
            "unet_width": 24,
            "score_window": 21,
        },
    },
    "full": {"image_size": (256, 256), "model": {}},
}


def get_config(size: str = "small") -> ConfigDict:
    """Returns the configuration for a size."""
    if size not in SIZES:
        raise VqadError(f"configs/pretrain.py:{size}: no such size; give {', '.join(SIZES)}")
    config = base_config()
    config.image_size = SIZES[size]["image_size"]
    config.model.update(SIZES[size]["model"])
    config.model.update(commitment_cost=0.02, reseed_below=0.5, code_units=True)
    config.stages = ("stage1",)
    config.stage1.update(
        steps=50_000,
        batch_size=16,
        learning_rate=6e-4,
        schedule="cosine",
        warmup_steps=500,
        clip_norm=1.0,
        standardize_features=True,
        hi_dropout=0.2,
        gray_probability=0.5,
    )
    config.checkpoint.every_steps = 1000
    config.log.update(every_steps=100, images_every_steps=2000)
    return config
