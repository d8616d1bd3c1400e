"""The networks, anomalies and losses against arrays that the authors' PyTorch code computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import (
    arrays,
    disturbance,
    error,
    files,
    gradients,
    model_and_variables,
    named,
    nhwc,
)

from vqad.anomalies.features import disturb, draw_ranks, replace_codes
from vqad.anomalies.perlin import perlin_noise
from vqad.config import base_config
from vqad.interop.authors import authors_to_variables, bgr_to_rgb
from vqad.kernels.ranks import codes_at_ranks
from vqad.models.quantizer import perplexity_and_usage
from vqad.stages import STAGES
from vqad.stages.losses import focal_loss
from vqad.stages.stage1 import AutoencoderInputs, autoencoder_loss, ema_update
from vqad.stages.stage2 import detector_loss, surface_inputs
from vqad.stages.stage3 import UpsamplerInputs, upsampler_loss

VALUES, GRADIENTS = 1e-5, 1e-4


@pytest.fixture(scope="module")
def inference():
    model, variables = model_and_variables()
    return jax.jit(model.apply)(variables, nhwc("image"))


def test_inference_equals_the_reference(inference):
    encoding = inference.encoding
    # What the upsampler makes of rounding in M is looked at below.
    computed = named(inference)
    del computed["upsampler_logits"]
    computed["smoothed_mask"] = inference.smoothed_mask[..., None]
    errors = {name: error(array, nhwc(name)) for name, array in computed.items()}
    errors["image_score"] = error(inference.score, arrays()["image_score"])
    for level in ("lo", "hi"):
        quantized = getattr(encoding, level)
        perplexity, _ = perplexity_and_usage(quantized.codes, model_and_variables()[0].num_codes)
        errors[f"perplexity_{level}"] = error(perplexity, arrays()[f"perplexity_{level}"])
        np.testing.assert_array_equal(quantized.codes, arrays()[f"codes_{level}"])
    assert {name: value for name, value in errors.items() if value > VALUES} == {}


def test_upsampler_equals_the_reference_on_its_inputs():
    # Chained behind the detector, rounding of M is amplified; here both get the same M.
    model, variables = model_and_variables()
    logits = jax.jit(lambda v, *a: model.apply(v, *a, method="upsample"))(
        variables, nhwc("specific_image"), nhwc("general_image"), nhwc("detector_mask")
    )
    assert error(logits, nhwc("upsampler_logits")) < VALUES


def test_weights_for_rgb_give_the_same_masks(inference):
    model, _ = model_and_variables()
    variables = bgr_to_rgb(authors_to_variables(files()))
    image = nhwc("image")
    rgb = jax.jit(model.apply)(variables, image[..., ::-1])
    assert error(rgb.general[..., ::-1], np.asarray(inference.general)) < VALUES
    assert error(rgb.specific[..., ::-1], np.asarray(inference.specific)) < VALUES
    assert error(rgb.upsampled_mask, np.asarray(inference.upsampled_mask)) < VALUES
    plain = jax.jit(model.apply)(variables, image)
    assert error(plain.general[..., ::-1], np.asarray(inference.general)) > 1e-3


def assert_gradients(got, want):
    """Within 1e-4 of each array's largest magnitude.

    A bias in front of an instance norm changes nothing: its gradient is exactly zero here and
    rounding noise in the reference.
    """
    faults = {}
    want, got = (
        {jax.tree_util.keystr(p): np.asarray(a) for p, a in jax.tree_util.tree_leaves_with_path(t)}
        for t in (want, got)
    )
    assert want.keys() == got.keys()
    for name, array in want.items():
        if name.endswith("['bias']") and not got[name].any():
            kernel = want[name.replace("['bias']", "['kernel']")]
            assert np.abs(array).max() < 1e-4 * np.abs(kernel).max(), name
        elif error(got[name], array) > GRADIENTS:
            faults[name] = error(got[name], array)
    assert faults == {}


def test_stage1_step_equals_the_reference():
    model, variables = model_and_variables()
    image = nhwc("image")

    def loss(params):
        inputs = {"params": params, "codebook": variables["codebook"]}
        return autoencoder_loss(model, inputs, AutoencoderInputs(image))

    params = {"autoencoder": variables["params"]["autoencoder"]}
    (total, outcome), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    after, _ = jax.jit(lambda kept: ema_update(model, variables, kept, jax.random.key(0)))(
        outcome.kept
    )
    z = arrays()
    assert error(total, z["stage1_total"]) < VALUES
    assert error(outcome.metrics["reconstruction"], z["stage1_reconstruction"]) < VALUES
    for level in ("lo", "hi"):
        commitment = outcome.metrics[f"commitment_{level}"]
        assert error(commitment, z[f"stage1_commitment_{level}"]) < VALUES
        book = after["autoencoder"][f"quantizer_{level}"]
        before = variables["codebook"]["autoencoder"][f"quantizer_{level}"]
        for name, theirs in (
            ("codes", "codebook"),
            ("cluster_size", "cluster_size"),
            ("ema_sum", "ema_sum"),
        ):
            want = z[f"stage1_after_{level}_{theirs}"]
            assert error(book[name], want) < VALUES
            assert error(before[name], want) > 1e-3
    assert_gradients(grads, {"autoencoder": gradients(vq_model="stage1_grad/")["autoencoder"]})


def test_feature_anomalies_equal_the_reference():
    model, variables = model_and_variables()
    draws, z = disturbance(), arrays()
    net = model.bind(variables)
    for level in ("lo", "hi"):
        ranks = draw_ranks(
            getattr(draws, f"uniform_{level}"), getattr(draws, f"strength_{level}"), 32
        )
        np.testing.assert_array_equal(ranks.reshape(len(ranks), -1), z[f"rank_{level}"])
    encoding = net.autoencoder.encode(nhwc("image"))
    book = variables["codebook"]["autoencoder"]["quantizer_lo"]["codes"]
    ranks = z["rank_lo"].reshape(encoding.lo.codes.shape)
    anomalous = replace_codes(
        encoding.features_lo, encoding.lo.values, jnp.asarray(book), draws.mask, ranks
    )
    assert error(anomalous, nhwc("anomalous_lo")) < VALUES
    values_lo, values_hi, target = disturb(net, encoding, draws)
    assert error(values_lo, nhwc("mixed_lo")) < VALUES
    assert error(values_hi, nhwc("mixed_hi")) < VALUES
    np.testing.assert_array_equal(target, nhwc("target_mask"))


def test_ranked_codes_equal_sorting():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 8, 4, 5)).astype(np.float32)
    codes = rng.normal(size=(300, 5)).astype(np.float32)
    ranks = rng.integers(0, 300, (2, 8, 4))
    order = np.argsort(((features[..., None, :] - codes) ** 2).sum(-1), axis=-1)
    want = codes[np.take_along_axis(order, ranks[..., None], -1)[..., 0]]
    everywhere = jnp.ones(ranks.shape, bool)
    np.testing.assert_array_equal(
        codes_at_ranks(features, jnp.asarray(codes), ranks, everywhere), want
    )


def test_stage2_equals_the_reference():
    model, variables = model_and_variables()
    trains = STAGES["stage2"].trains

    def loss(params):
        inputs = {**variables, "params": {**variables["params"], **params}}
        drawn = surface_inputs(nhwc("image"), disturbance())
        return detector_loss(model, inputs, drawn, base_config().stage2)

    params = {name: variables["params"][name] for name in trains}
    (total, outcome), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    z, images = arrays(), outcome.images
    assert error(total, z["stage2_total"]) < VALUES
    for name, theirs in (
        ("features_hi", "subspace_hi"),
        ("features_lo", "subspace_lo"),
        ("reconstruction", "image"),
        ("focal", "focal"),
    ):
        assert error(outcome.metrics[name], z[f"stage2_{theirs}"]) < VALUES
    assert error(images["I_gen"], nhwc("stage2_general_image")) < VALUES
    assert error(images["I_spc"], nhwc("stage2_specific_image")) < VALUES
    assert error(images["M"], nhwc("stage2_mask")[..., 1:]) < VALUES
    want = gradients(
        subspace_restriction_hi="stage2_grad/hi/",
        subspace_restriction_lo="stage2_grad/lo/",
        image_recon_module="stage2_grad/spec/",
        anomaly_det_module="stage2_grad/det/",
    )
    assert_gradients(grads, {name: want[name] for name in trains})


def test_stage3_equals_the_reference():
    model, variables = model_and_variables()
    drawn = UpsamplerInputs(nhwc("image"), nhwc("anomaly_mask"))
    total, outcome = jax.jit(lambda v: upsampler_loss(model, v, drawn))(variables)
    assert error(total, arrays()["stage3_focal"]) < VALUES
    assert error(outcome.images["M_up"], nhwc("stage3_mask")[..., 1:]) < VALUES


def test_stage3_gradients_equal_the_reference_on_its_inputs():
    # With inputs that differ by rounding, a relu near zero may flip and move a gradient by a
    # percent; with the same inputs none does.
    model, variables = model_and_variables()
    inputs = [nhwc(name) for name in ("specific_image", "general_image", "detector_mask")]

    def loss(upsampler):
        params = {**variables["params"], "upsampler": upsampler}
        logits = model.apply({**variables, "params": params}, *inputs, method="upsample")
        return focal_loss(jax.nn.softmax(logits), nhwc("anomaly_mask"))

    grads = jax.jit(jax.grad(loss))(variables["params"]["upsampler"])
    assert_gradients(grads, gradients(upsample_module="stage3_grad/")["upsampler"])


@pytest.mark.parametrize("i", range(4))
def test_perlin_noise_equals_the_reference(i):
    turns, noise = arrays()[f"perlin_{i}_turns"], arrays()[f"perlin_{i}_noise"]
    cells = jnp.array(turns.shape) - 1
    assert error(perlin_noise(jnp.asarray(turns), cells, noise.shape), noise) < VALUES
    # Unused lattice points must not matter, as the number of cells is traced in training.
    padded = np.pad(turns, [(0, 33 - s) for s in turns.shape], constant_values=0.37)
    assert error(perlin_noise(jnp.asarray(padded), cells, noise.shape), noise) < VALUES
