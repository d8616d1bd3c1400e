"""A run from Python, and the examples that start from it."""

import importlib
import json
import logging
import os
import runpy
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT
from flax import nnx
from tiny import SIZES, tiny_config

import vqad
from vqad import checkpoints
from vqad.data.surface_demo.folders import write_pictures, write_tiles
from vqad.training.interruption import Interrupted

STEPS = {f"stage{i}": {"steps": 3} for i in (1, 2, 3)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    write_tiles(folder / "tiles", train=20, good=2, defective=1)
    write_pictures(folder / "pictures", 8)
    return folder


@pytest.fixture(scope="module")
def trained(place):
    """What `vqad.train` gave, and what it needs to be asked again."""
    config = tiny_config()
    config.pictures = str(place / "pictures")
    config.calibration.held_out = 0.5
    config.calibration.false_alarms = 0.2
    asked = {"config": config, "workdir": place / "run", "surface": place / "tiles", **STEPS}
    return vqad.train(**asked), asked


def test_it_predicts_with_thresholds(trained, place):
    model, _ = trained
    pictures = sorted(place.glob("tiles/test/*/*.png"))
    found = model.predict(pictures)
    assert found.scores.shape == (6,)
    assert found.masks.shape == (6, 128, 128)
    assert found.verdicts.dtype == bool
    np.testing.assert_array_equal(vqad.load(place / "run").predict(pictures).masks, found.masks)


def test_the_same_call_trains_no_more(trained, place, caplog):
    caplog.set_level(logging.INFO, "vqad")
    model = vqad.train(**trained[1])
    assert sum("already trained for 3 steps" in message for message in caplog.messages) == 3
    assert model.metadata["weights"] == trained[0].metadata["weights"]
    assert vqad.train(**trained[1] | {"stages": ("stage1",)}) is None


def test_evaluate_gives_the_figures_of_the_run(trained, place):
    stored = json.loads((place / "run" / "evaluation.json").read_text())
    for model in (trained[0], place / "run"):
        found = vqad.evaluate(model, place / "tiles")
        assert found.images == stored["images"] == 6
        for name, value in stored["overall"].items():
            if name != "intervals":
                assert getattr(found.overall, name) == value, name
        assert sorted(found.classes) == sorted(stored["classes"])


def test_a_signal_stops_it_with_a_checkpoint(trained, place, tmp_path):
    class Handler(logging.Handler):
        def emit(self, record):
            if "first step after" in record.getMessage():
                os.kill(os.getpid(), signal.SIGINT)

    logger, handler, before = logging.getLogger("vqad"), Handler(), signal.getsignal(signal.SIGINT)
    logger.addHandler(handler)
    asked = trained[1] | {"workdir": tmp_path / "run", "stages": ("stage1",)}
    try:
        with pytest.raises(Interrupted):
            vqad.train(**asked)
    finally:
        logger.removeHandler(handler)
    assert checkpoints.latest_step(tmp_path / "run" / "stage1") == 1
    assert signal.getsignal(signal.SIGINT) is before
    assert vqad.train(**asked) is None
    assert checkpoints.latest_step(tmp_path / "run" / "stage1") == 3


def test_a_loop_and_a_loss_of_ones_own(trained, place, capsys):
    path = ROOT / "examples" / "custom_loop.py"
    assert len(path.read_text().splitlines()) <= 40
    names, out = runpy.run_path(str(path)), str(place / "own")
    names["train"](str(place / "run" / "stage1"), str(place / "tiles"), out, (32, 32), 2)
    step, _, metrics = capsys.readouterr().out.strip().partition(" ")
    metrics = eval(metrics)
    assert step == "2"
    parts = metrics["focal"] + metrics["features_hi"] + metrics["features_lo"]
    assert metrics["loss"] == pytest.approx(parts + metrics["absolute"], abs=2e-3)
    # Stage 3 goes on from it.
    asked = trained[1] | {"workdir": place / "third", "stages": ("stage3",), "init_from": out}
    model = vqad.train(**asked | {"calibration.held_out": 0.0})
    weights, _ = checkpoints.load_weights(out)
    jax.tree.map(
        np.testing.assert_array_equal,
        model.variables["params"]["detector"],
        weights["params"]["detector"],
    )


def test_linen_modules_in_an_nnx_program(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    example = importlib.import_module("nnx_bridge")
    dsr = vqad.Dsr(**SIZES)
    image = jax.random.uniform(jax.random.key(0), (4, 32, 32, 3))
    grade = jnp.array([0.0, 0.2, 0.5, 1.0])
    grader = nnx.jit(example.Grader, static_argnums=0)(dsr, image, nnx.Rngs(0))
    frozen = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(grader.dsr, nnx.Param)))
    first = example.fit(grader, image, grade, 1)
    assert example.fit(grader, image, grade, 20) < first
    jax.tree.map(
        np.testing.assert_array_equal,
        frozen,
        nnx.to_pure_dict(nnx.state(grader.dsr, nnx.Param)),
    )
    # The same numbers as Linen's own call with the same variables.
    codebook = nnx.to_pure_dict(nnx.state(grader.dsr, nnx.Not(nnx.Param)))
    codebook.pop("to_nnx__rngs")
    found = jax.jit(dsr.apply)({"params": frozen, "codebook": codebook}, image)
    wrapped = nnx.jit(lambda module, image: module(image))(grader.dsr, image)
    np.testing.assert_allclose(wrapped.upsampled_mask, found.upsampled_mask, atol=1e-6)
