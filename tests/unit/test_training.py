"""Configs, the train step, devices, frozen parts."""

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Run, tiny_config

from vqad.config import model_from_config, validate
from vqad.errors import VqadError
from vqad.stages import PAPER, STAGES
from vqad.stages.losses import focal_loss
from vqad.training.initialization import initial_variables
from vqad.training.optimizer import make_optimizer
from vqad.training.sharding import Shardings
from vqad.training.step import (
    create_state,
    make_train_step,
    split_variables,
)

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = [
    "demo",
    "small",
    "stage1",
    "stage2",
    "stage2:ksdd2",
    "stage3",
    "stage3:ksdd2",
    "pretrain:small",
    "pretrain:base",
    "pretrain:full",
]


def load_config(recipe):
    name, _, argument = recipe.partition(":")
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*([argument] if argument else []))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_config_builds(recipe):
    config = load_config(recipe)
    config.pictures = config.surface = "/data"
    if config.stages[0] != "stage1":
        config.init_from = "/weights"
    validate(config)


# Of those that differ in more than sizes.
@pytest.mark.parametrize("recipe", ["stage1", "stage2", "stage3", "pretrain:small"])
def test_one_step_of_each_stage_traces(recipe):
    config = load_config(recipe)
    model = model_from_config(config)
    image = jax.ShapeDtypeStruct((1, *config.image_size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    for name in config.stages:
        stage, settings = STAGES[name], config[name]
        params, codebook, frozen = split_variables(stage, variables)
        optimizer = make_optimizer(settings)
        state = jax.eval_shape(lambda p, c, o=optimizer: create_state(p, c, o), params, codebook)
        shardings = Shardings.over_devices(devices=jax.devices()[:1])
        step = make_train_step(model, stage, settings, optimizer, 0, shardings)
        batch = {"image": jax.ShapeDtypeStruct((2, *config.image_size, 3), jnp.uint8)}
        new_state, metrics, _ = jax.eval_shape(step, state, frozen, batch)
        assert jax.tree.map(lambda a: a.shape, new_state) == jax.tree.map(lambda a: a.shape, state)
        assert metrics["loss"].shape == ()


@pytest.mark.parametrize(
    ("surface", "source", "size"),
    [
        ("ksdd2", "tfds:ksdd2/unsupervised", (640, 224)),
        ("ksdd2_supervised_16", "tfds:ksdd2/supervised_16", (640, 224)),
        ("mvtec_ad/bottle", "tfds:mvtec_ad/bottle", (256, 256)),
        ("folder", "", (256, 256)),
    ],
)
@pytest.mark.parametrize("stage", ["stage2", "stage3"])
def test_surfaces_by_name(stage, surface, source, size):
    config = load_config(f"{stage}:{surface}")
    assert (config.surface, config.image_size, config.stages) == (source, size, (stage,))


def test_paper_settings():
    config = load_config("stage2")
    assert (config.stage1.steps, config.stage1.batch_size) == (200_000, 32)
    assert (config.stage2.steps, config.stage2.batch_size) == (100_000, 8)
    assert config.stage2.drop_after * config.stage2.steps == 80_000
    assert (config.stage3.steps, config.stage3.batch_size) == (20_000, 8)
    assert {config[s].learning_rate for s in STAGES} == {2e-4}
    assert (config.model.num_codes, config.model.code_dim, config.model.hiddens) == (4096, 128, 128)
    assert (config.model.commitment_cost, config.model.decay) == (0.25, 0.99)
    assert (config.model.reseed_below, config.model.code_units) == (0, False)
    assert config.stage2.drop_factor == 0.1
    assert [config[s].rotation_probability for s in ("stage2", "stage3")] == [0.4, 0.3]
    assert [config[s].max_cells for s in ("stage2", "stage3")] == [32, 32]
    assert config.stage2.min_strength == 0.2
    assert (config.stage2.feature_weight, config.stage2.image_weight) == (1, 10)
    assert config.stage1.gray_probability == 0
    assert (config.stage1.hi_dropout, config.stage1.standardize_features) == (0, False)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("image_size", (100, 64), ["config.image_size", "divisible by 32", "96 x 64"]),
        ("image_size", (64,), ["config.image_size", "(height, width)"]),
        ("stages", ("stage2", "stage1"), ["config.stages", "in order"]),
        ("stages", ("stage9",), ["config.stages", "stage1"]),
        ("stages", ("stage2",), ["config.init_from", "stage1"]),
        ("surface", "", ["config.surface", "stage2"]),
        ("model.dtype", "float16", ["config.model.dtype", "bfloat16"]),
        ("model.score_window", 4, ["config.model.score_window", "odd"]),
        ("model.num_codes", 1, ["config.model.num_codes"]),
        ("stage1.steps", -1, ["config.stage1.steps", "at least 0"]),
        ("stage2.accumulate_steps", 0, ["config.stage2.accumulate_steps", "at least 1"]),
        ("stage1.batch_size", 0, ["config.stage1.batch_size", "at least 1"]),
        ("stage2.learning_rate", -1.0, ["config.stage2.learning_rate"]),
        ("stage2.rotation_probability", 1.5, ["rotation_probability", "between 0 and 1"]),
        ("stage1.hi_dropout", 1.5, ["hi_dropout", "between 0 and 1"]),
        ("stage1.gray_probability", -1, ["gray_probability", "between 0 and 1"]),
        ("stage3.max_cells", 12, ["stage3.max_cells", "12", "power of two up to 32"]),
        ("stage3.max_cells", 0, ["stage3.max_cells", "at least 1"]),
        ("stage2.image_weight", float("nan"), ["image_weight"]),
    ],
)
def test_bad_values_are_refused_by_name(field, value, words):
    config = tiny_config()
    config.pictures = config.surface = "/data"
    config.update_from_flattened_dict({field: value})
    with pytest.raises(VqadError) as caught:
        validate(config)
    assert all(word in str(caught.value) for word in words), caught.value


def test_unknown_fields_are_refused_by_name():
    config = tiny_config()
    config.model.hidens = 3
    with pytest.raises(VqadError, match=r"config.model.hidens: no such field; .*hiddens"):
        validate(config)


def test_focal_loss_by_hand():
    p = np.array([[[[0.8, 0.2], [0.3, 0.7]]]], np.float32)
    mask = np.array([[[[0], [1]]]], np.float32)
    t = 1e-5
    q = np.array([(1 - t) * 0.8 + t * 0.2 + t, t * 0.3 + (1 - t) * 0.7 + t])
    np.testing.assert_allclose(focal_loss(p, mask), np.mean(-((1 - q) ** 2) * np.log(q)), rtol=1e-6)


def test_where_jax_may_not_use_the_host_that_is_told(monkeypatch):
    def none(backend):
        raise RuntimeError(f"no {backend} backend")

    model = model_from_config(tiny_config())
    monkeypatch.setattr(jax, "local_devices", none)
    with pytest.raises(VqadError, match=r"drawn on the host; give JAX_PLATFORMS=cpu,cpu"):
        initial_variables(model, STAGES["stage1"], 0, None)


@functools.cache
def plain_run(name):
    return Run(STAGES[name], 1, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_bfloat16_and_remat_train_to_nearly_the_same_losses(name):
    plain = plain_run(name)
    short = Run(STAGES[name], 1, 3, model={"dtype": "bfloat16", "remat": True})
    assert all(leaf.dtype != jnp.bfloat16 for leaf in jax.tree.leaves(short.state))
    for a, b in zip(plain.metrics, short.metrics, strict=True):
        assert a["loss"] != b["loss"]
        # 8 bits of mantissa; a code or a masked position near a boundary may change as well.
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=0.1)


@pytest.mark.parametrize("name", list(STAGES))
def test_a_stage_changes_what_it_trains_and_nothing_else(name):
    stage, run = STAGES[name], plain_run(name)
    frozen = run.frozen
    # That their bytes stay is shown on whole runs, by their checkpoints.
    assert set(frozen["params"]) == set(run.before["params"]) - set(stage.trains)
    assert set(stage.needs) <= set(frozen["params"])
    for module in stage.trains:
        changed = [
            np.asarray(a).tobytes() != b.tobytes()
            for a, b in zip(
                jax.tree.leaves(run.state.params[module]),
                jax.tree.leaves(run.before["params"][module]),
                strict=True,
            )
        ]
        assert any(changed)
    moved = jax.tree.leaves(run.state.codebook)
    assert bool(moved) == (stage.ema_update is not None)


def test_steps_compile_once_and_keys_differ_by_step():
    run = Run(STAGES["stage2"], 1, 4, images=np.full((8, 32, 32, 3), 128, np.uint8))
    assert run.step._cache_size() == 1
    assert run.state.step == 4
    assert len({float(m["focal"]) for m in run.metrics}) == 4


def test_batch_sizes_that_do_not_divide_are_refused():
    shardings = Shardings.over_devices()
    assert shardings.mesh.size == 8
    with pytest.raises(VqadError, match="not divisible by the 8 devices; give 16"):
        shardings.check_divides("config.stage1.batch_size", 12)
    with pytest.raises(VqadError, match="8 devices times 3; give 48"):
        shardings.check_divides("config.stage1.batch_size", 32, 3)
    shardings.check_divides("config.stage1.batch_size", 48, 3)
