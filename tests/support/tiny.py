"""Networks of few and small layers: their configuration, and a few steps of a stage with them."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from double import double_precision, doubled

from vqad.config import base_config, model_from_config
from vqad.models.initializers import host_key
from vqad.stages import STAGES
from vqad.training.optimizer import make_optimizer
from vqad.training.sharding import Shardings
from vqad.training.step import (
    create_state,
    make_train_step,
    shown,
    split_variables,
    state_shardings,
)

SIZES = {
    "hiddens": 8,
    "residual_hiddens": 4,
    "residual_layers": 1,
    "code_dim": 4,
    "num_codes": 16,
    "object_bottleneck": 4,
    "unet_width": 4,
}


def tiny_config():
    config = base_config()
    config.image_size = (32, 32)
    config.model.update(**SIZES, reseed_below=0.5)
    for stage in STAGES:
        config[stage].update(steps=10, batch_size=8)
    return config


class Run:
    """A few steps of a stage on some devices, with everything that a test may look at."""

    def __init__(
        self,
        stage,
        devices,
        steps,
        batch=8,
        images=None,
        defects=None,
        model=None,
        shardings=None,
        double=False,
        options=None,
        **settings,
    ):
        config = tiny_config()
        config.model.update(model or {})
        config[stage.name].update(**settings)
        image = jnp.zeros((1, 32, 32, 3))
        init = jax.jit(model_from_config(config).init, compiler_options=options)
        init = init(host_key(jax.random.key(0)), image)
        self.before = jax.device_get({k: dict(init[k]) for k in ("params", "codebook")})
        shardings = shardings or Shardings.over_devices(devices=jax.devices()[:devices])
        rng = np.random.default_rng(0)
        batches = [
            {
                "image": rng.integers(0, 256, (batch, 32, 32, 3), np.uint8)
                if images is None
                else images,
                **(defects or {}),
            }
            for _ in range(steps)
        ]
        if not double:
            jit = functools.partial(jax.jit, compiler_options=options)
            with mock.patch.object(jax, "jit", jit):
                self._train(config, stage, shardings, batches)
            return
        config.model.dtype = "float64"
        self.before = doubled(self.before)
        with double_precision():
            self._train(config, stage, shardings, batches)

    def _train(self, config, stage, shardings, batches):
        params, codebook, frozen = split_variables(stage, self.before)
        frozen = shardings.put(frozen)
        optimizer = make_optimizer(config[stage.name])
        state = create_state(params, codebook, optimizer)
        state = shardings.put(state, state_shardings(shardings, state))
        model, settings = model_from_config(config), config[stage.name]
        self.step = make_train_step(model, stage, settings, optimizer, 0, shardings)
        self.metrics = []
        for batch in batches:
            rows = {
                key: np.array_split(array, jax.process_count())[jax.process_index()]
                for key, array in batch.items()
            }
            state, metrics, images = self.step(state, frozen, shardings.put_batch(rows))
            self.metrics.append(jax.device_get(metrics))
        self.state, self.frozen, self.images = state, jax.device_get(frozen), shown(images)
