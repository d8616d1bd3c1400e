"""128 x 128 and narrower networks for grey surfaces: the three stages on two CPU cores.

python launch/main.py --config=configs/small.py --workdir=runs/small \
    --config.pictures=/data/photographs --config.surface=/data/tiles

About 30 minutes. On magnetic tiles: image AUROC 0.758, pixel AP 0.124 (docs/results.md).
"""

from ml_collections import ConfigDict

from vqad.config import base_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = base_config()
    config.image_size = (128, 128)
    config.model.update(
        hiddens=32,
        residual_hiddens=16,
        code_dim=32,
        num_codes=512,
        unet_width=16,
        commitment_cost=0.02,
        reseed_below=0.5,
        code_units=True,
        score_window=11,
    )
    # Without standard features and hi dropout the lo codes carry nothing at this size and budget,
    # so that an anomaly of lo alone cannot be seen in I_gen, and its target is wrong. Grey, because
    # with codes for colours most drawn anomalies have one, and the detector learns to look for it.
    # At this rate the codebooks collapse after some 3600 steps: it drops before.
    config.stage1.update(
        steps=4300,
        batch_size=16,
        standardize_features=True,
        hi_dropout=0.2,
        gray_probability=1.0,
    )
    config.stage2.update(steps=1500, batch_size=8)
    config.stage3.update(steps=300, batch_size=8)
    for stage in (config.stage1, config.stage2, config.stage3):
        stage.learning_rate = 1e-3
        stage.drop_after = 0.8
    for stage in (config.stage2, config.stage3):
        # Rotation fills corners with black; 32 cells along 256 pixels are 16 along 128.
        stage.update(rotation_probability=0.0, max_cells=16)
    config.checkpoint.every_steps = 500
    config.log.update(every_steps=50, images_every_steps=500)
    config.evaluation.batch_size = 16
    return config
