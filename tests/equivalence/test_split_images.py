"""Prediction that all devices share: by images of a batch, or by the height of each image."""

import re

import jax
import numpy as np
import pytest
from double import double_precision, doubled
from reference import error, model_and_variables

from vqad.config import base_config, validate
from vqad.errors import VqadError
from vqad.evaluation.evaluate import check_split
from vqad.prediction.jitted import jit_predict, shardings_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images():
    # The smallest height of eight devices: one row of each on the coarsest grid.
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 8, 3), np.uint8)
    return noise.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope="module", autouse=True)
def double():
    # Instance norms blow up rounding by more than a comparison in float32 could forgive.
    with double_precision():
        yield


@pytest.fixture(scope="module")
def model(double):
    model, variables = model_and_variables()
    return model.clone(dtype=np.float64), doubled(variables)


@pytest.fixture(scope="module")
def programs(model, images):
    net, variables = model
    quick = {"xla_backend_optimization_level": 0}  # of the compiler's time, most goes to LLVM
    return {
        split: jit_predict(net, split).lower(variables, images).compile(quick)
        for split in ("nothing", "images", "height")
    }


@pytest.fixture(scope="module")
def alone(programs, model, images):
    return jax.device_get(programs["nothing"](shardings_for("nothing").put(model[1]), images))


@pytest.mark.parametrize("split", ["images", "height"])
def test_predictions_of_eight_devices_are_those_of_one(split, programs, model, images, alone):
    found = programs[split](shardings_for(split).put(model[1]), images)
    assert found.keys() == alone.keys()
    for key, value in alone.items():
        assert np.ptp(value) > 1e-2, key
        assert len(found[key].sharding.device_set) == 8
        assert value.dtype == np.float64
        assert error(found[key], value) < 1e-10, key


def test_devices_hold_and_exchange_no_more_than_their_part(programs):
    def exchanged(split):
        pattern = r"= (.*?) (all-[a-z]+|reduce-scatter|collective-[a-z]+)(?:-start)?\("
        return re.findall(pattern, programs[split].as_text())

    assert not exchanged("images")
    assert {kind for _, kind in exchanged("height")} == {"all-reduce", "collective-permute"}
    for shapes, kind in exchanged("height"):
        if kind == "all-reduce":  # means and the largest of an image, not its pixels
            for shape in re.findall(r"\w\[([\d,]*)\]", shapes):
                assert np.prod([int(n) for n in shape.split(",") if n]) <= 8 * 64, shapes
    memory = {
        split: program.memory_analysis().temp_size_in_bytes for split, program in programs.items()
    }
    assert memory["images"] < memory["nothing"] / 4
    assert memory["height"] < memory["nothing"] / 4


def test_sizes_that_devices_cannot_share_are_refused():
    config = base_config()
    config.image_size = (384, 32)
    config.evaluation.batch_size = 12
    check_split(config)
    config.evaluation.split = "images"
    with pytest.raises(VqadError, match=r"config\.evaluation\.batch_size: 12 .* 8 devices.*16"):
        check_split(config)
    config.evaluation.split = "height"
    with pytest.raises(VqadError, match=r"config\.image_size: 384 .* 8 devices times 32; give 512"):
        check_split(config)
    config.image_size = (512, 32)
    check_split(config)
    config.evaluation.split = "width"
    with pytest.raises(VqadError, match=r"config\.evaluation\.split: 'width'; give one of nothing"):
        validate(config)
