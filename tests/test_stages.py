"""That each stage's loss uses its settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqad.errors import VqadError
from vqad.models.dsr import Dsr
from vqad.synthesis.disturbance import draw_disturbance
from vqad.training.config import base_config
from vqad.training.continuation import check_units
from vqad.training.initialization import standardize_features
from vqad.training.stage import Defects
from vqad.training.stage2 import detector_inputs, detector_loss
from vqad.training.stages import STAGES

SIZES = {
    "hiddens": 8,
    "residual_hiddens": 4,
    "residual_layers": 1,
    "code_dim": 4,
    "num_codes": 16,
    "object_bottleneck": 4,
    "unet_width": 4,
}


def made(**fields):
    model = Dsr(**SIZES, **fields)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    return model, jax.device_get(variables)


def outcome(name, images, **settings):
    model, variables = made()
    settings = {**base_config()[name].to_dict(), **settings}
    return judged(name, model, variables, images, settings)(jax.random.key(5))


def judged(name, model, variables, images, settings, defects=None):
    """A function of a key to what a stage draws with it and what its loss returns."""
    stage = STAGES[name]

    @jax.jit
    def outcome(key):
        inputs = stage.draw(key, images, settings, defects)
        return stage.loss(model, variables, inputs, settings)[1]

    return outcome


def test_feature_errors_are_measured_in_the_codes_units():
    images = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    inputs = detector_inputs(images, draw_disturbance(jax.random.key(2), 2, (32, 32)))
    settings = base_config().stage2
    model, variables = made(code_units=True)
    plain_model, _ = made(code_units=False)
    book = variables["codebook"]["autoencoder"]["quantizer_hi"]
    book["codes"] = 0.2 * book["codes"]
    mean = book["codes"].mean(0)
    unit = np.sqrt(np.square(book["codes"] - mean).mean())
    found = jax.jit(lambda v: detector_loss(model, v, inputs, settings)[1].metrics)(variables)
    # The same restored features from a network without units, with them in its last layer.
    output = variables["params"]["restriction_hi"]["output"]
    output["kernel"] = unit * output["kernel"]
    output["bias"] = unit * output["bias"] + mean
    plain = jax.jit(lambda v: detector_loss(plain_model, v, inputs, settings)[1].metrics)(variables)
    np.testing.assert_allclose(found["features_hi"], plain["features_hi"] / unit**2, rtol=1e-4)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_stage_1_takes_the_colour_out(probability):
    images = jax.random.uniform(jax.random.key(1), (4, 32, 32, 3))
    seen = np.asarray(outcome("stage1", images, gray_probability=probability).images["I"])
    colourful = np.ptp(seen, axis=-1).max() > 1e-6
    assert colourful == (probability == 0)


def test_stage_1_decodes_a_share_of_the_images_from_lo_alone():
    images = jax.random.uniform(jax.random.key(1), (64, 32, 32, 3))

    def decoded(share):
        return np.asarray(outcome("stage1", images, hi_dropout=share).images["I_gen"])

    whole, some, lo_alone = decoded(0.0), decoded(0.25), decoded(1.0)
    model, variables = made()
    net = model.bind(variables)
    u = net.autoencoder.encode(images).upsampled_lo
    expected = net.autoencoder.decode(u, jnp.zeros((64, 8, 8, SIZES["code_dim"])))
    np.testing.assert_allclose(lo_alone, expected, atol=1e-5)
    from_both = np.abs(some - whole).max((1, 2, 3)) < 1e-6
    from_lo = np.abs(some - lo_alone).max((1, 2, 3)) < 1e-6
    assert np.all(from_both != from_lo)
    assert 5 <= from_lo.sum() <= 28  # binomial(64, 1/4), 4 deviations either way


def test_features_are_standard_after_a_look_at_data():
    model, variables = made()
    images = jax.random.uniform(jax.random.key(1), (8, 32, 64, 3))
    before = model.bind(variables).autoencoder.encode(images)
    assert np.std(before.features_lo) < 0.2
    variables = standardize_features(model, variables, images)
    net = model.bind(variables).autoencoder
    encoding = net.encode(images)
    _, features_hi = net.features_hi(encoding.hidden_hi, encoding.features_lo)
    for features in (encoding.features_lo, features_hi):
        np.testing.assert_allclose(features.mean((0, 1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(features.std((0, 1, 2)), 1, rtol=1e-3)


@pytest.mark.parametrize("name", ["stage2", "stage3"])
def test_masks_have_no_more_cells_than_asked(name):
    images = jnp.full((16, 64, 64, 3), 0.5)
    fine = outcome(name, images).images["target"]
    coarse = outcome(name, images, max_cells=2).images["target"]
    pieces = [np.abs(np.diff(t, axis=1)).sum() / np.sum(t) for t in (fine, coarse)]
    assert pieces[1] < 0.7 * pieces[0]


def test_restrictions_in_other_units_are_refused():
    config = base_config()
    _, variables = made()
    check_units(config, variables, {"model": {}}, "runs/old")
    config.model.code_units = True
    with pytest.raises(VqadError, match=r"runs/old was trained with False; give --config"):
        check_units(config, variables, {"model": {}}, "runs/old")
    check_units(config, {"params": {"autoencoder": {}}}, {"model": {}}, "runs/stage1")


def labelled_defects():
    mask = np.zeros((4, 64, 64, 1), np.float32)
    mask[1, 16:25, 40:44] = 1
    return Defects(jnp.asarray(mask), jnp.asarray([False, True, False, True]))


def test_what_lies_under_a_labelled_defect_is_not_restored():
    model, variables = made()
    defects = labelled_defects()
    draws = draw_disturbance(jax.random.key(2), 4, (64, 64))
    images = jax.random.uniform(jax.random.key(1), (4, 64, 64, 3))

    @jax.jit
    def judged(images):
        inputs = detector_inputs(images, draws, defects)
        return detector_loss(model, variables, inputs, base_config().stage2)[1]

    outcome = judged(images)
    labelled = np.asarray(defects.labelled)
    target = np.asarray(outcome.images["target"])
    np.testing.assert_array_equal(target[labelled], defects.mask[labelled])
    assert target[~labelled].any()
    general, _ = model.apply(variables, images, method="reconstruct")
    same = np.abs(outcome.images["I_gen"] - general).max((1, 2, 3)) < 1e-5
    assert same[labelled].all()
    # The 9 x 4 defect touches 2 x 1 positions of the lo grid, with their neighbours 4 x 3.
    counted = np.ones((4, 64, 64, 1))
    counted[1, 8:40, 32:56] = 0
    squares = np.square(np.asarray(images) - np.asarray(outcome.images["I_spc"]))
    expected = (squares * counted).sum() / (3 * counted.sum())
    np.testing.assert_allclose(outcome.metrics["reconstruction"], expected, rtol=1e-5)
    assert abs(expected / squares.mean() - 1) > 1e-4


def test_stage_3_takes_the_masks_of_labelled_defects_and_does_not_smudge_them():
    model, variables = made()
    defects = labelled_defects()
    images = jnp.full((4, 64, 64, 3), 0.5)
    settings = {**base_config().stage3.to_dict(), "rotation_probability": 0.0}
    seen = judged("stage3", model, variables, images, settings, defects)
    smudged = False
    for seed in range(4):
        shown = seen(jax.random.key(seed)).images
        for i in (1, 3):
            np.testing.assert_array_equal(shown["target"][i], defects.mask[i])
            np.testing.assert_array_equal(shown["I"][i], images[i])
        smudged |= bool(np.asarray(shown["target"][0]).any())
    assert smudged


def test_the_mask_of_a_labelled_defect_turns_with_its_image():
    model, variables = made()
    defects = labelled_defects()
    images = jnp.broadcast_to(0.1 + 0.8 * defects.mask, (4, 64, 64, 3))
    settings = {**base_config().stage3.to_dict(), "rotation_probability": 1.0}
    seen = judged("stage3", model, variables, images, settings, defects)
    shown = seen(jax.random.key(1)).images  # 59 degrees
    assert np.any(shown["target"][1] != defects.mask[1])
    bright = np.asarray(shown["I"][1, :, :, :1]) > 0.1 + 0.8 * 0.25
    assert np.mean(bright != np.asarray(shown["target"][1])) < 1e-3
