"""Pretraining on a corpus of many surfaces: what a real surface's training starts from.

python tools/corpus.py corpus
python launch/main.py --config=configs/pretrain.py:small --workdir=runs/pretrain_small \
    --config.pictures=corpus/train/good --config.surface=corpus

``small`` has the networks of ``configs/small.py``, ``base`` wider ones at 256 x 256, ``full`` the
paper's. Stage 2, in its three parts, and stage 3 see random parts of the corpus at random scales:
one surface of all surfaces, whose modules later start a real one. Half of all images are grey, so
that the weights serve grey cameras too.

``small,gpu`` has batches, rates and dtypes for one large GPU, which would be idle most of the time
with those for a CPU (docs/pretraining.md).
"""

from typing import NamedTuple

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


class OnGpu(NamedTuple):
    """What a size is trained with on a GPU.

    Attributes:
      stage1_batch: images in a batch of stage 1.
      batch: images in a batch of the other stages.
      rate: what their rates are multiplied by: more for larger batches, less for wider layers.
      dtype: of the computation.
    """

    stage1_batch: int
    batch: int
    rate: float
    dtype: str


ON_GPU = {
    "small": OnGpu(128, 64, 1.6, "float32"),
    "base": OnGpu(128, 64, 1.2, "bfloat16"),
    "full": OnGpu(64, 32, 0.8, "bfloat16"),
}


def get_config(argument: str = "small") -> ConfigDict:
    """Returns the configuration for a size, as ``small`` or ``small,gpu``."""
    size, _, place = argument.partition(",")
    if size not in SIZES or place not in ("", "gpu"):
        raise VqadError(
            f"configs/pretrain.py:{argument}: no such size; give {', '.join(SIZES)}, or one of "
            "them with ,gpu behind it"
        )
    config = base_config()
    config.image_size = SIZES[size]["image_size"]
    config.model.update(SIZES[size]["model"])
    config.model.update(commitment_cost=0.02, reseed_below=0.5, code_units=True)
    config.stages = ("stage1", "restrictions", "object_decoder", "detector", "stage3")
    config.crop = "random"
    config.labelled_share = 0.0
    config.stage1.update(
        steps=50_000,
        batch_size=16,
        learning_rate=6e-4,
        clip_norm=1.0,
        standardize_features=True,
        hi_dropout=0.2,
        gray_probability=0.5,
    )
    config.restrictions.update(steps=50_000, learning_rate=1e-3)
    config.object_decoder.update(steps=20_000, learning_rate=1e-3)
    config.detector.update(steps=20_000, learning_rate=5e-4)
    config.stage3.update(steps=10_000, learning_rate=5e-4)
    for name in ("restrictions", "object_decoder", "detector", "stage3"):
        config[name].update(
            batch_size=8,
            average_decay=0.999,
            rotation_probability=0.0,
            gray_probability=0.5,
            mark_share=0.5,
            max_cells=min(32, config.image_size[0] // 8),
        )
    for name in config.stages:
        config[name].update(schedule="cosine", warmup_steps=500)
    config.checkpoint.every_steps = 1000
    config.log.update(every_steps=100, images_every_steps=2000)
    config.evaluation.batch_size = 16
    if place == "gpu":
        _for_gpu(config, ON_GPU[size])
    return config


def _for_gpu(config: ConfigDict, chosen: OnGpu) -> None:
    config.model.dtype = chosen.dtype
    for name in config.stages:
        settings = config[name]
        settings.batch_size = chosen.stage1_batch if name == "stage1" else chosen.batch
        settings.learning_rate *= chosen.rate
        settings.clip_norm = 1.0
