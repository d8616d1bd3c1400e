"""What the compiled train step must not contain, and that it runs without the host."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqad.config import base_config, model_from_config
from vqad.kernels import distances
from vqad.models.dsr import Dsr
from vqad.models.initializers import host_key
from vqad.stages import PAPER, STAGES
from vqad.training.optimizer import make_optimizer
from vqad.training.sharding import Shardings
from vqad.training.step import create_state, make_train_step, split_variables

MODEL = {
    "hiddens": 8,
    "residual_hiddens": 4,
    "residual_layers": 1,
    "code_dim": 4,
    "num_codes": 4096,
    "object_bottleneck": 4,
    "unet_width": 4,
}
SIDE, BATCH = 128, 2
# jax draws random bits in rolled loops on CPU; accelerators have no loop there.
RANDOM_BITS = re.compile(r"threefry|_uniform|_randint|_bernoulli")
IN_BLOCKS = re.compile(r"(blocks\)?|bisection)/while$")


def parts(name):
    config = base_config()
    config.model.update(MODEL)
    model, stage = model_from_config(config), STAGES[name]
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    variables = {key: dict(variables[key]) for key in ("params", "codebook")}
    params, codebook, frozen = split_variables(stage, variables)
    optimizer = make_optimizer(config[name])
    state = jax.eval_shape(lambda p, c: create_state(p, c, optimizer), params, codebook)
    shardings = Shardings.over_devices(devices=jax.devices()[:1])
    step = make_train_step(model, stage, config[name], optimizer, 0, shardings)
    return step, state, frozen, shardings


@functools.cache
def program(name):
    """A step traced, and compiled as outside of tests: without fusions, scatters are loops."""
    step, state, frozen, _ = parts(name)
    image = jax.ShapeDtypeStruct((BATCH, SIDE, SIDE, 3), jnp.uint8)
    traced = step.trace(state, frozen, {"image": image})
    return traced, traced.lower().compile({"xla_cpu_use_fusion_emitters": True})


@pytest.mark.parametrize("name", PAPER)
def test_no_transfer_no_sort_and_no_loop_but_blocks(name):
    traced, compiled = program(name)
    text = compiled.as_text()
    operations = set(re.findall(r"(?<=[\])}] )([a-z][a-z-]*)\(", text))
    assert "convolution" in operations
    # What returns several arrays is seen as well.
    assert "while" in operations
    assert not operations & {"sort", "infeed", "outfeed", "send", "recv", "copy-start"}
    assert "callback" not in text
    loops = re.findall(r' while\(.*op_name="([^"]*)"', text)
    assert len(loops) == text.count(" while(")
    others = [loop for loop in loops if not RANDOM_BITS.search(loop)]
    assert all(IN_BLOCKS.search(loop) for loop in others), others
    assert others
    # The program that a GPU would be given.
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.convolution" in text
    for word in ("stablehlo.sort", "chlo.top_k", "infeed", "outfeed", "callback"):
        assert word not in text, word


@pytest.mark.parametrize("name", PAPER)
def test_a_step_needs_nothing_from_the_host(name):
    _, state, frozen, shardings = parts(name)
    _, step = program(name)
    rng = np.random.default_rng(0)

    def filled(leaf):
        if leaf.dtype != jnp.float32:
            return jnp.zeros(leaf.shape, leaf.dtype)
        return jnp.asarray(rng.uniform(size=leaf.shape).astype(np.float32) * 0.1)

    state, frozen = shardings.put(jax.tree.map(filled, (state, frozen)))
    images = rng.integers(0, 256, (3, BATCH, SIDE, SIDE, 3), dtype=np.uint8)
    batches = shardings.prefetch({"image": image} for image in images)
    for batch in batches:
        with jax.transfer_guard("disallow"):
            state, metrics, _ = step(state, frozen, batch)
    assert np.isfinite(jax.device_get(metrics["loss"]))


def test_batches_handed_over_ahead_keep_their_order():
    shardings = Shardings.over_devices(devices=jax.devices()[:1])
    taken = []

    def source():
        for i in range(5):
            taken.append(i)
            yield {"image": np.full((1,), i)}

    ahead = shardings.prefetch(source(), count=2)
    assert next(ahead)["image"][0] == 0
    assert taken == [0, 1, 2]
    assert [int(batch["image"][0]) for batch in ahead] == [1, 2, 3, 4]


def test_blocks_of_columns_change_nothing():
    features = jax.random.normal(jax.random.key(0), (2, 5, 13, 4))
    offsets = jnp.arange(130.0).reshape(2, 5, 13)

    columns = []

    def function(features, offsets):
        columns.append(features.shape[2])
        return features.sum(-1) + offsets

    whole = function(features, offsets)
    for limit in (1 << 20, 500, 300, 1):
        found = jax.jit(lambda f, o, m=limit: distances.over_columns(function, 10, m, f, o))(
            features, offsets
        )
        np.testing.assert_array_equal(found, whole)
        assert columns[-1] == 1 or columns[-1] * 2 * 5 * 10 <= limit
    text = str(
        jax.make_jaxpr(lambda f, o: distances.over_columns(function, 10, 300, f, o))(
            features, offsets
        )
    )
    assert "scan" in text


def test_no_distances_are_kept_for_the_gradient():
    model = Dsr(**MODEL)
    image = jax.ShapeDtypeStruct((BATCH, SIDE, SIDE, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)

    def pullback(params, codebook, image):
        def loss(params):
            found, _ = model.apply(
                {"params": params, "codebook": codebook}, image, method="reconstruct"
            )
            return found.sum()

        return jax.vjp(loss, params)[1]

    kept = jax.eval_shape(pullback, variables["params"], variables["codebook"], image)
    sizes = [leaf.size for leaf in jax.tree.leaves(kept)]
    assert max(sizes) >= BATCH * SIDE * SIDE
    assert max(sizes) < BATCH * (SIDE // 4) ** 2 * MODEL["num_codes"] / 4


def test_remat_changes_memory_and_no_number():
    image = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    found = []
    for remat in (False, True):
        model = Dsr(**{**MODEL, "num_codes": 16}, remat=remat)
        variables = jax.jit(model.init)(host_key(jax.random.key(0)), image)

        def loss(params, variables=variables, model=model):
            net = model.bind({**variables, "params": params})
            pair = image, image[..., ::-1]
            logits = net.detect(*pair)
            return logits.std() + net.upsample(*pair, jax.nn.softmax(logits)).std()

        params = {"params": variables["params"]}["params"]
        text = str(jax.make_jaxpr(jax.grad(loss))(params))
        found.append((jax.jit(jax.grad(loss))(params), "remat" in text))
    (plain, without), (again, with_remat) = found
    assert (without, with_remat) == (False, True)
    scale = max(float(jnp.abs(a).max()) for a in jax.tree.leaves(plain))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * scale)
