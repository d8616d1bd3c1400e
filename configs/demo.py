"""The three stages and the evaluation in minutes, on data that the program draws itself.

python launch/main.py --config=configs/demo.py --workdir=runs/demo
"""

from ml_collections import ConfigDict

from vqad.config import base_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = base_config()
    config.image_size = (64, 64)
    config.pictures = "tfds:surface_demo/pictures"
    config.surface = "tfds:surface_demo/tiles"
    config.model.update(
        hiddens=32,
        residual_hiddens=16,
        code_dim=16,
        num_codes=256,
        object_bottleneck=32,
        unet_width=12,
        reseed_below=0.5,
        score_window=5,
    )
    config.stage1.update(steps=1600, batch_size=16)
    config.stage2.update(steps=600, batch_size=8)
    config.stage3.update(steps=150, batch_size=8)
    for stage in (config.stage1, config.stage2, config.stage3):
        stage.learning_rate = 1e-3
        stage.drop_after = 0.8
    for stage in (config.stage2, config.stage3):
        # Rotation fills corners with black; masks of 32 cells are finer than the codes' grid.
        stage.update(rotation_probability=0.0, max_cells=16)
    config.checkpoint.every_steps = 200
    config.log.update(every_steps=50, images_every_steps=200)
    config.evaluation.batch_size = 16
    return config
