"""Kernels equal their plain forms, forward and backward, and are chosen by platform."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.test_util import check_grads

from vqad.kernels import bilinear, convolutions, distances, normalization, pooling, ranks
from vqad.kernels.choice import kernels_for

RNG = np.random.default_rng(0)
# Of the largest value. In float32 up to a thousand products are summed in two orders: each sum
# rounds by 2^-24, and in random directions.
FLOAT32 = 1e-5
# A result of 8 bits is rounded by 2^-8 of it at most. A thin convolution rounds each of its side^2
# taps and partial sums, in random directions.
BFLOAT16 = 2**-8

# Kernel, plain form, sizes of convolution kernels: side and channels.
CONVOLUTIONS = [
    (convolutions.conv, convolutions.plain_conv, (1, 4, 7)),
    (convolutions.conv, convolutions.plain_conv, (3, 4, 1)),
    (convolutions.conv, convolutions.plain_conv, (3, 16, 2)),
    (convolutions.conv, convolutions.plain_conv, (5, 4, 2)),
    (convolutions.conv_down, convolutions.plain_conv_down, (4, 3, 8)),
    (convolutions.conv_transpose, convolutions.plain_conv_transpose, (4, 8, 3)),
    (bilinear.upsample_conv, bilinear.plain_upsample_conv, (3, 16, 5)),
]
OTHERS = [
    (normalization.instance_norm_relu, normalization.plain_instance_norm_relu),
    (pooling.max_pool, pooling.plain_max_pool),
]
PAIRS = [(*pair, None) for pair in OTHERS] + CONVOLUTIONS
SHAPES = [(1, 2, 2), (3, 6, 10)]


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape).astype(np.float32))


def inputs(shape, sizes):
    if sizes is None:
        return [normal(*shape, 5)]
    side, ci, co = sizes
    return [normal(*shape, ci), normal(side, side, ci, co)]


@functools.partial(jax.jit, static_argnums=0)
def with_gradients(function, args, weight):
    y, pull = jax.vjp(function, *args)
    return y, *pull(weight.astype(y.dtype))


def assert_close(found, wanted, tolerance):
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max() + 1e-30)


@pytest.fixture(autouse=True)
def _in_full_products():
    with jax.default_matmul_precision("highest"):  # on GPUs too
        yield


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("fast", "plain", "sizes"), PAIRS)
def test_kernels_equal_plain_ones(fast, plain, sizes, shape):
    args = inputs(shape, sizes)
    weight = normal(*jax.eval_shape(plain, *args).shape)
    wanted = with_gradients(plain, args, weight)
    assert_close(with_gradients(fast, args, weight), wanted, FLOAT32)
    # Numbers that bfloat16 holds, so that only what is done with them rounds.
    low = [a.astype(jnp.bfloat16) for a in args]
    weight = weight.astype(jnp.bfloat16)
    found = with_gradients(fast, low, weight)
    assert {a.dtype for a in found} == {jnp.dtype(jnp.bfloat16)}
    wanted = with_gradients(plain, [a.astype(jnp.float32) for a in low], weight.astype(jnp.float32))
    assert_close(found, wanted, BFLOAT16 * (sizes[0] if sizes else 1))


def test_upsampling_in_bfloat16_sums_in_float32():
    low = [a.astype(jnp.bfloat16) for a in inputs((2, 8, 8), (3, 64, 8))]
    wanted = bilinear.plain_upsample_conv(*(a.astype(jnp.float32) for a in low))
    found = bilinear.upsample_conv(*low).astype(jnp.float32)
    assert (jnp.abs(found - wanted) <= 2.0**-8 * jnp.abs(wanted) + 1e-4).all()  # rounded once


def test_upsampling_keeps_a_plane():
    x = (jnp.arange(3.0)[:, None] + 10 * jnp.arange(5.0)).reshape(1, 3, 5, 1)
    middle = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
    wanted = jnp.linspace(0, 2, 6)[:, None] + 10 * jnp.linspace(0, 4, 10)
    for form in (bilinear.upsample_conv, bilinear.plain_upsample_conv):
        np.testing.assert_allclose(form(x, middle)[0, :, :, 0], wanted, atol=1e-5)


def test_upsampling_one_pixel():
    x, kernel = inputs((2, 1, 1), (3, 4, 5))
    wanted = convolutions.plain_conv(jnp.broadcast_to(x, (2, 2, 2, 4)), kernel)
    np.testing.assert_allclose(bilinear.upsample_conv(x, kernel), wanted, rtol=1e-5, atol=1e-5)


def test_instance_norm_gradients_equal_differences():
    norm = normalization.instance_norm_relu
    check_grads(norm, (normal(2, 4, 6, 3),), order=1, modes="rev", atol=2e-2, rtol=2e-2)


def test_means_equal_plain_ones():
    x = normal(3, 12, 20, 5) + 10
    # Sums of 240 values of one sign.
    found, wanted = normalization.spatial_mean(x), normalization.plain_spatial_mean(x)
    assert_close([found], [wanted], 1e-6)


def test_max_pool_gives_ties_to_the_first():
    x = jnp.asarray([[1.0, 2.0], [2.0, 2.0]]).reshape(1, 2, 2, 1)
    for form in (pooling.max_pool, pooling.plain_max_pool):
        assert form(x).item() == 2
        grad = jax.grad(lambda x, form=form: form(x).sum())(x)
        np.testing.assert_array_equal(grad.reshape(2, 2), [[0, 1], [0, 0]])
    many = jnp.asarray(RNG.integers(0, 3, (3, 12, 8, 5)).astype(np.float32))
    weight = normal(3, 6, 4, 5)
    pairs = (with_gradients(form, [many], weight) for form in OTHERS[1])
    for a, b in zip(*pairs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("shape", "size"), [((1, 1, 1), 1), ((2, 5, 7), 40), ((3, 8, 6), 256)])
def test_nearest_codes_and_ranks_equal_plain_ones(shape, size, monkeypatch):
    # Of whole numbers around 0, so that distances are exact and many are equal.
    def whole(*shape):
        return RNG.integers(-2, 3, shape).astype(np.float32)

    half = whole(size // 2, 4)
    features, codes = whole(*shape, 4), np.concatenate([half, -half]) if size > 1 else whole(1, 4)
    values = distances.code_distances(jnp.asarray(features), jnp.asarray(codes))
    squared = np.square(features[..., None, :] - codes).sum(-1)
    norm = np.square(features - codes.mean(0)).sum(-1)
    np.testing.assert_array_equal(values, squared - norm[..., None])
    features, codes = jnp.asarray(features), jnp.asarray(codes)
    rank = jnp.asarray(RNG.integers(0, size, shape, dtype=np.int32))
    found = ranks.select_rank(values, rank)
    np.testing.assert_array_equal(found, ranks.plain_select_rank(values, rank))
    order = np.argsort(squared, axis=-1, kind="stable")
    at = np.take_along_axis(order, np.asarray(rank)[..., None], -1)
    np.testing.assert_array_equal(
        np.take_along_axis(squared, np.asarray(found)[..., None], -1),
        np.take_along_axis(squared, at, -1),
    )
    for limit in (1 << 20, 2 * shape[0] * shape[1] * size):
        monkeypatch.setattr(distances, "_DISTANCES_IN_CACHE", limit)
        monkeypatch.setattr(ranks, "_DISTANCES_AT_A_TIME", limit)
        nearest = distances.nearest_code(features, codes)
        np.testing.assert_array_equal(nearest, distances.plain_nearest_code(features, codes))
        np.testing.assert_array_equal(nearest, squared.argmin(-1))
        wanted = jnp.asarray(RNG.uniform(size=shape) < 0.3)
        args = features, codes, rank, wanted
        a, b = ranks.codes_at_ranks(*args), ranks.plain_codes_at_ranks(*args)
        np.testing.assert_array_equal(a[wanted], b[wanted])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("offset", [0, 1, 3, 10, 30, 100])
def test_nearest_code_where_codes_share_an_offset(offset, dtype):
    # Features between two codes: the nearest by a thousandth of a deviation or more, in float64.
    rng = np.random.default_rng(offset)
    codes = (rng.normal(size=(96, 16)) + offset * rng.choice([-1, 1], 16)).astype(np.float32)
    one, other = codes[rng.integers(0, 96, (2, 1, 64, 32))]
    features = jnp.asarray(one + 0.49 * (other - one), dtype)
    apart = np.asarray(features, np.float64)[..., None, :] - codes.astype(np.float64)
    squared = np.square(apart).sum(-1)
    for plain in (distances.nearest_code, distances.plain_nearest_code):
        found = jax.jit(plain)(features, jnp.asarray(codes))
        chosen = np.take_along_axis(squared, np.asarray(found)[..., None], -1)[..., 0]
        # What float32 tells apart at the codes' own spread, of squared norms around 16.
        assert (chosen - squared.min(-1)).max() <= 64 * np.finfo(np.float32).eps


def test_forms_go_by_platform():
    x = jax.ShapeDtypeStruct((1, 4, 4, 2), jnp.float32)
    mean = jax.jit(lambda x: normalization.spatial_mean(x))

    def text(*platforms):
        return mean.trace(x).lower(lowering_platforms=platforms).as_text()

    assert "dot_general" in text("cpu")
    assert "dot_general" not in text("cuda")
    assert "dot_general" not in text("tpu")
    program = export.export(mean, platforms=("cpu", "cuda", "tpu"))(x).mlir_module()
    assert "dot_general" in program
    assert "stablehlo.reduce" in program
    with kernels_for("plain"):
        assert "dot_general" not in text("cpu")


def test_runtimes_have_their_forms():
    transpose = jax.jit(lambda *args: convolutions.conv_transpose(*args))
    args = inputs((1, 4, 4), (4, 2, 2))
    texts = {}
    for runtime in (None, "plain", "onnx"):
        with kernels_for(runtime):
            texts[runtime] = transpose.lower(*args).as_text()
    assert "lhs_dilate = [2, 2]" in texts["plain"]
    assert "optimization_barrier" in texts[None]
    assert not any(word in texts["onnx"] for word in ("lhs_dilate = [2, 2]", "barrier"))
    with kernels_for("onxx"), pytest.raises(KeyError):
        convolutions.conv_transpose(*args)
