"""How prediction is compiled: once for each size, with full products on every platform."""

import re

import jax
import numpy as np
import pytest
from jax import monitoring
from tiny import tiny_config

from vqad.config import model_from_config
from vqad.models.initializers import host_key
from vqad.prediction.jitted import jit_predict, make_predict

MODEL = model_from_config(tiny_config())


def test_prediction_compiles_once_for_each_size():
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 32, 64, 3), np.uint8)
    variables = jax.jit(MODEL.init)(host_key(jax.random.key(0)), images[0] / np.float32(255))
    predict = make_predict(MODEL, variables)
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration)

    monitoring.register_event_duration_secs_listener(listen)
    try:
        counts = []
        for batch in (*images, images[0][:, :, :32]):
            assert predict(batch)["score"].shape == (2,)
            counts.append(len(compiled))
    finally:
        monitoring.unregister_event_duration_listener(listen)
    assert counts[0] == counts[1] == counts[2] == counts[3] - 1 == 1, counts


@pytest.mark.parametrize(("asked", "found"), [(None, "HIGHEST"), ("default", "DEFAULT")])
def test_float32_products_are_not_shortened_unless_asked(asked, found):
    image = jax.ShapeDtypeStruct((2, 32, 32, 3), np.uint8)
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    with jax.default_matmul_precision(asked):
        text = jit_predict(MODEL).lower(shapes, image).as_text()
    convolutions = re.findall(r"convolution\(.*precision (\w+)>, .*precision (\w+)>", text)
    assert len(convolutions) > 30
    assert set(convolutions) == {(found, found)}
    # The search of the nearest code always wants all digits.
    products = re.findall(r"stablehlo\.dot_general.*precision = \[(\w+), (\w+)\]", text)
    assert set(products) == {(found, found), ("HIGHEST", "HIGHEST")}
