"""That each stage's loss uses its settings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import SIZES

from vqad.anomalies.features import draw_disturbance
from vqad.config import base_config
from vqad.errors import VqadError
from vqad.models.dsr import Dsr
from vqad.models.initializers import host_key
from vqad.stages import STAGES
from vqad.stages.stage import Defects
from vqad.stages.stage1 import standardize_features
from vqad.stages.stage2 import detector_loss, surface_inputs
from vqad.training.resume import check_units


@functools.cache
def initialized(model):
    variables = jax.jit(model.init)(host_key(jax.random.key(0)), jnp.zeros((1, 32, 32, 3)))
    return jax.device_get(variables)


def made(**fields):
    model = Dsr(**SIZES, **fields)
    return model, jax.tree.map(np.copy, initialized(model))


def shown(name, images, wanted, **settings):
    """One kind of images of a stage's outcome."""
    model, variables = made()
    settings = {**base_config()[name].to_dict(), **settings}
    seen = evaluated(name, model, variables, images, settings, (wanted,))
    return np.asarray(seen(jax.random.key(5))[wanted])


def evaluated(name, model, variables, images, settings, wanted, defects=None):
    """A function of a key to the wanted images of a stage's outcome."""
    stage = STAGES[name]

    @jax.jit
    def images_of(key, variables):
        inputs = stage.draw(key, images, settings, defects)
        found = stage.loss(model, variables, inputs, settings)[1].images
        return {each: found[each] for each in wanted}

    return lambda key: images_of(key, variables)


def test_feature_errors_are_measured_in_the_codes_units():
    images = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    inputs = surface_inputs(images, draw_disturbance(jax.random.key(2), 2, (32, 32)))
    settings = base_config().stage2

    @functools.partial(jax.jit, static_argnums=0)
    def features_hi(model, variables):
        return detector_loss(model, variables, inputs, settings)[1].metrics["features_hi"]

    model, variables = made(code_units=True)
    plain_model = model.clone(code_units=False)
    book = variables["codebook"]["autoencoder"]["quantizer_hi"]
    book["codes"] = 0.2 * book["codes"]
    mean = book["codes"].mean(0)
    unit = np.sqrt(np.square(book["codes"] - mean).mean())
    found = features_hi(model, variables)
    # The same restored features from a network without units, with them in its last layer.
    output = variables["params"]["restriction_hi"]["output"]
    output["kernel"] = unit * output["kernel"]
    output["bias"] = unit * output["bias"] + mean
    np.testing.assert_allclose(found, features_hi(plain_model, variables) / unit**2, rtol=1e-4)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_stage_1_takes_the_colour_out(probability):
    images = jax.random.uniform(jax.random.key(1), (4, 32, 32, 3))
    seen = shown("stage1", images, "I", gray_probability=probability)
    colourful = np.ptp(seen, axis=-1).max() > 1e-6
    assert colourful == (probability == 0)


def test_stage_1_decodes_a_share_of_the_images_from_lo_alone():
    images = jax.random.uniform(jax.random.key(1), (64, 32, 32, 3))

    def decoded(share):
        return shown("stage1", images, "I_gen", hi_dropout=share)

    whole, some, lo_alone = decoded(0.0), decoded(0.25), decoded(1.0)
    model, variables = made()

    @jax.jit
    def from_lo_alone(variables):
        net = model.bind(variables).autoencoder
        u = net.encode(images).upsampled_lo
        return net.decode(u, jnp.zeros((64, 8, 8, SIZES["code_dim"])))

    expected = from_lo_alone(variables)
    np.testing.assert_allclose(lo_alone, expected, atol=1e-5)
    from_both = np.abs(some - whole).max((1, 2, 3)) < 1e-6
    from_lo = np.abs(some - lo_alone).max((1, 2, 3)) < 1e-6
    assert np.all(from_both != from_lo)
    assert 5 <= from_lo.sum() <= 28  # binomial(64, 1/4), 4 deviations either way


def test_features_are_standard_after_a_look_at_data():
    model, variables = made()
    images = jax.random.uniform(jax.random.key(1), (8, 32, 64, 3))

    @jax.jit
    def features(variables):
        net = model.bind(variables).autoencoder
        encoding = net.encode(images)
        return encoding.features_lo, net.features_hi(encoding.hidden_hi, encoding.features_lo)[1]

    assert np.std(features(variables)[0]) < 0.2
    for found in features(standardize_features(model, variables, images)):
        np.testing.assert_allclose(found.mean((0, 1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(found.std((0, 1, 2)), 1, rtol=1e-3)


@pytest.mark.parametrize("name", ["stage2", "stage3"])
def test_masks_have_no_more_cells_than_asked(name):
    images = jnp.full((16, 64, 64, 3), 0.5)
    fine = shown(name, images, "target")
    coarse = shown(name, images, "target", max_cells=2)
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
    def evaluated(images):
        inputs = surface_inputs(images, draws, defects)
        return detector_loss(model, variables, inputs, base_config().stage2)[1]

    outcome = evaluated(images)
    labelled = np.asarray(defects.labelled)
    target = np.asarray(outcome.images["target"])
    np.testing.assert_array_equal(target[labelled], defects.mask[labelled])
    assert target[~labelled].any()
    general = jax.jit(lambda v: model.apply(v, images, method="reconstruct")[0])(variables)
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
    seen = evaluated("stage3", model, variables, images, settings, ("I", "target"), defects)
    smudged = False
    for seed in range(4):
        found = seen(jax.random.key(seed))
        for i in (1, 3):
            np.testing.assert_array_equal(found["target"][i], defects.mask[i])
            np.testing.assert_array_equal(found["I"][i], images[i])
        smudged |= bool(np.asarray(found["target"][0]).any())
    assert smudged


def test_the_mask_of_a_labelled_defect_turns_with_its_image():
    model, variables = made()
    defects = labelled_defects()
    images = jnp.broadcast_to(0.1 + 0.8 * defects.mask, (4, 64, 64, 3))
    settings = {**base_config().stage3.to_dict(), "rotation_probability": 1.0}
    seen = evaluated("stage3", model, variables, images, settings, ("I", "target"), defects)
    found = seen(jax.random.key(1))  # 59 degrees
    assert np.any(found["target"][1] != defects.mask[1])
    bright = np.asarray(found["I"][1, :, :, :1]) > 0.1 + 0.8 * 0.25
    assert np.mean(bright != np.asarray(found["target"][1])) < 1e-3
