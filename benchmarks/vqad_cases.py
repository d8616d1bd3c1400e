"""vqad's side of the duel: python benchmarks/vqad_cases.py CASE WORKLOAD."""

import sys
from typing import Any

import numpy as np
from pacer import Pacer
from workload import Workload


def _setup(work: Workload) -> tuple:
    from vqad.config import base_config, model_from_config

    config = base_config()
    config.image_size = (work.side, work.side)
    config.model.update(num_codes=work.num_codes, dtype=work.dtype)
    for name in ("stage1", "stage2", "stage3"):
        config[name].batch_size = work.batch
    return config, model_from_config(config)


def _images(work: Workload) -> np.ndarray:
    shape = (work.batch, work.side, work.side, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _flops(lowered: Any) -> float:
    """Its arithmetic; 0 where JAX counts none before it is compiled, as for GPUs."""
    return (lowered.cost_analysis() or {}).get("flops", 0.0)


def train(pacer: Pacer, work: Workload, name: str, loading: bool) -> None:
    """Steps of a stage, on one batch or with the pipeline."""
    import itertools

    import jax
    import jax.numpy as jnp

    from vqad.data.pipeline import training_batches
    from vqad.data.sources import open_source
    from vqad.models.initializers import host_key
    from vqad.stages import STAGES
    from vqad.training.trainer import Trainer

    config, model = _setup(work)
    stage = STAGES[name]
    init = jax.jit(model.init)
    fresh = jax.device_get(init(host_key(jax.random.key(0)), jnp.zeros((1, 32, 32, 3))))
    trainer = Trainer(model, stage, config[name].to_dict(), image_size=(work.side, work.side))
    state = trainer.init(("fresh", fresh) if stage.needs else None)
    pacer.flops = lambda: _flops(trainer.lower())
    del fresh
    if loading:
        size = (work.side, work.side)
        crop = stage.source == "pictures"
        source = (
            open_source(work.pictures, "train", None)
            if crop
            else open_source(work.surface, "train", size)
        )
        batches = training_batches(
            source, batch_size=work.batch, image_size=size, seed=0, random_crop=crop
        )
    else:
        batches = itertools.repeat({"image": _images(work)})
    for batch in batches:
        state, metrics, _ = trainer.step(state, trainer.shardings.put_batch(batch))
        jax.block_until_ready((state, metrics))
        pacer.tick()


def infer(pacer: Pacer, work: Workload) -> None:
    """Masks and scores of a batch."""
    import jax
    import jax.numpy as jnp

    from vqad.models.initializers import host_key
    from vqad.prediction.jitted import make_predict

    _, model = _setup(work)
    variables = jax.jit(model.init)(host_key(jax.random.key(0)), jnp.zeros((1, 32, 32, 3)))
    predict, images = make_predict(model, variables), _images(work)
    forward = jax.jit(model.apply).lower(variables, jnp.asarray(images, jnp.float32))
    pacer.flops = lambda: _flops(forward)
    while True:
        jax.block_until_ready(predict(images))
        pacer.tick()


def draw(pacer: Pacer, work: Workload) -> None:
    """Masks and feature anomalies of both levels around given features."""
    import jax
    import jax.numpy as jnp

    from vqad.anomalies.features import disturb, draw_disturbance
    from vqad.models.initializers import host_key

    _, model = _setup(work)
    variables = jax.jit(model.init)(host_key(jax.random.key(0)), jnp.zeros((1, 32, 32, 3)))
    image = jnp.asarray(_images(work), jnp.float32) / 255
    encoding = jax.jit(lambda v, x: model.bind(v).autoencoder.encode(x))(variables, image)

    def anomalies(variables: dict, encoding: Any, key: jax.Array) -> tuple:
        draws = draw_disturbance(key, work.batch, (work.side, work.side))
        return disturb(model.bind(variables), encoding, draws)

    compiled = jax.jit(anomalies)
    for i in range(10**9):
        jax.block_until_ready(compiled(variables, encoding, jax.random.key(i)))
        pacer.tick()


def main() -> None:
    """Runs the case that the command line names."""
    case, work = sys.argv[1], Workload.from_json(sys.argv[2])
    pacer = Pacer()
    if case.startswith("stage"):
        name, _, loading = case.partition("+")
        train(pacer, work, name, bool(loading))
    else:
        {"inference": infer, "anomalies": draw}[case](pacer, work)


if __name__ == "__main__":
    main()
