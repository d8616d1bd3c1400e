"""That prediction is compiled once for each size."""

import jax
import numpy as np
from jax import monitoring

from vqad.evaluation.evaluate import make_predict
from vqad.models.dsr import Dsr
from vqad.models.initializers import host_key


def test_prediction_compiles_once_for_each_size():
    model = Dsr(
        hiddens=8,
        residual_hiddens=4,
        residual_layers=1,
        code_dim=4,
        num_codes=16,
        object_bottleneck=4,
        unet_width=4,
    )
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 32, 64, 3), np.uint8)
    variables = jax.jit(model.init)(host_key(jax.random.key(0)), images[0] / np.float32(255))
    predict = make_predict(model, variables)
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
