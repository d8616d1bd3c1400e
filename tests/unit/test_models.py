"""Networks: sizes, dtypes, the codebook's upkeep."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import SIZES

from vqad.checkpoints import load_weights, save_weights
from vqad.errors import VqadError
from vqad.models.autoencoder import DiscreteAutoencoder
from vqad.models.dsr import Dsr, smooth
from vqad.models.initializers import host_key
from vqad.models.quantizer import VectorQuantizer, perplexity_and_usage

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape).astype(np.float32))


def test_smooth_counts_zeros_outside():
    mask = jnp.ones((1, 5, 5))
    np.testing.assert_allclose(smooth(mask, 3)[0, 0, :2], [4 / 9, 6 / 9], rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 100, 64, 3), ["100 x 64", "divisible by 32", "96 x 64", "128 x 64"]),
        ((1, 64, 20, 3), ["64 x 20", "64 x 32"]),
        ((1, 64, 64, 1), ["1 channels", "3 (RGB)", "grey"]),
        ((64, 64, 3), ["3 axes"]),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_unsupported_sizes_are_refused(shape, words, whole):
    model = Dsr(**SIZES) if whole else DiscreteAutoencoder(num_codes=8, code_dim=4, hiddens=8)
    with pytest.raises(VqadError) as caught:
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 32, 96, 3), jnp.float32), ((3, 64, 32, 3), jnp.bfloat16)]
)
def test_outputs_have_the_image_size_and_are_float32(shape, dtype):
    model = Dsr(**SIZES, dtype=dtype)
    init = functools.partial(model.init_with_output, jax.random.key(0))
    found, variables = jax.eval_shape(init, jnp.zeros(shape))
    assert found.upsampled_mask.shape == (*shape[:3], 2)
    assert found.score.shape == shape[:1]
    assert found.restored.hi.values.shape == (shape[0], shape[1] // 4, shape[2] // 4, 4)
    outputs = (found.general, found.specific, found.upsampled_mask, found.score)
    assert {array.dtype for array in outputs} == {np.dtype("float32")}
    assert {a.dtype for a in jax.tree.leaves(variables)} == {np.dtype("float32")}
    assert found.encoding.hidden_hi.dtype == dtype
    assert found.encoding.lo.values.dtype == jnp.float32


def test_bfloat16_is_close_to_float32():
    image = jnp.asarray(RNG.uniform(size=(2, 32, 32, 3)).astype(np.float32))
    model = DiscreteAutoencoder(
        **{k: v for k, v in SIZES.items() if k in DiscreteAutoencoder.__dataclass_fields__}
    )
    variables = jax.jit(model.init)(host_key(jax.random.key(0)), image)
    general, encoding = jax.jit(model.apply)(variables, image)
    low, low_encoding = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, image)
    assert (encoding.lo.codes == low_encoding.lo.codes).mean() > 0.8
    difference = np.abs(np.asarray(general - low))
    assert 0 < difference.max() < 0.1


def test_initial_parameters_depend_on_the_key_alone():
    model = Dsr(**SIZES)
    image = jnp.zeros((1, 32, 32, 3))
    init = jax.jit(model.init)
    jitted, again, other = (init(host_key(jax.random.key(seed)), image) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, jitted, again)
    kernel = jitted["params"]["autoencoder"]["encoder_hi"]["conv_2"]["kernel"]
    assert not np.array_equal(
        kernel, other["params"]["autoencoder"]["encoder_hi"]["conv_2"]["kernel"]
    )
    bound = (4 * 4 * 4) ** -0.5
    assert 0.9 * bound < np.abs(kernel).max() <= bound
    detector = np.concatenate(
        [
            np.ravel(a)
            for p, a in jax.tree_util.tree_leaves_with_path(jitted["params"]["detector"])
            if "kernel" in jax.tree_util.keystr(p)
        ]
    )
    assert abs(detector.std() - 0.02) < 0.001
    assert abs(jitted["codebook"]["autoencoder"]["quantizer_lo"]["ema_sum"].std() - 1) < 0.2


def test_host_keys_fold_as_threefry_does():
    key = jax.random.key(7)
    for word in (0, 1, 2**31 + 5, 2**32 - 1):
        plain = jax.random.fold_in(jax.random.fold_in(key, word), 3)
        host = jax.random.fold_in(jax.random.fold_in(host_key(key), word), 3)
        np.testing.assert_array_equal(jax.random.key_data(plain), jax.random.key_data(host))
    image = jnp.zeros((1, 16, 16, 4))
    book = VectorQuantizer(8, 4)
    plain, host = (jax.jit(book.init)(k, image) for k in (key, host_key(key)))
    jax.tree.map(np.testing.assert_array_equal, plain, host)
    keys = jax.random.split(key, 3)
    plain, host = (
        jax.vmap(lambda k, of=of: book.init(of(k), image))(keys) for of in (lambda k: k, host_key)
    )
    jax.tree.map(np.testing.assert_array_equal, plain, host)
    other = jax.random.key(7, impl="rbg")
    assert host_key(other) is other


def test_reseeding_revives_dead_codes():
    features = normal(4, 8, 8, 4) * 0.01 + 5
    used = {}
    for threshold in (0.0, 0.5):
        book = VectorQuantizer(32, 4, reseed_below=threshold)
        variables = book.init(jax.random.key(0), features)
        for i in range(3):
            rngs = {"codebook": jax.random.key(i)}
            found = book.apply(variables, features)
            _, variables = book.apply(
                variables,
                features,
                found.codes,
                method="ema_update",
                mutable=["codebook"],
                rngs=rngs,
            )
        used[threshold] = float(perplexity_and_usage(found.codes, 32)[1])
    assert used[0.0] <= 0.1
    assert used[0.5] > 0.6


def test_autoencoder_alone_can_be_saved_and_loaded(tmp_path):
    model = Dsr(**SIZES)
    image = jnp.asarray(RNG.uniform(size=(1, 32, 32, 3)).astype(np.float32))
    variables = jax.jit(lambda k: model.init(host_key(k), image, method="reconstruct"))(
        jax.random.key(0)
    )
    assert list(variables["params"]) == ["autoencoder"]
    save_weights(str(tmp_path / "weights"), dict(variables), {"model": SIZES})
    loaded, metadata = load_weights(str(tmp_path / "weights"))
    assert metadata["model"] == SIZES
    jax.tree.map(np.testing.assert_array_equal, dict(variables), loaded)
    with pytest.raises(VqadError, match="not an empty folder"):
        save_weights(str(tmp_path / "weights"), dict(variables), {"model": SIZES})


def test_restrictions_answer_in_units_of_the_codes():
    model = Dsr(**SIZES, code_units=True)
    image = jnp.zeros((1, 32, 32, 3))
    variables = jax.jit(model.init)(host_key(jax.random.key(0)), image)
    restore = jax.jit(lambda *args: model.apply(*args, method="restore"))
    books = variables["codebook"]["autoencoder"]
    counts = jnp.arange(16.0)
    values_lo, values_hi = normal(2, 4, 4, 4), normal(2, 8, 8, 4)
    found = []
    for scale in (1.0, 0.01):
        changed = {
            name: {**book, "codes": scale * book["codes"], "cluster_size": counts}
            for name, book in books.items()
        }
        found.append(
            restore({**variables, "codebook": {"autoencoder": changed}}, values_lo, values_hi)
        )
    large, small = found
    np.testing.assert_allclose(small.features_hi, 0.01 * large.features_hi, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(small.hi.codes, large.hi.codes)
    codes = np.asarray(books["quantizer_hi"]["codes"])
    mean = np.average(codes, axis=0, weights=counts)
    variance = np.average(np.square(codes - mean), axis=0, weights=counts).mean()
    np.testing.assert_allclose(large.unit_hi, np.sqrt(variance), rtol=1e-5)
