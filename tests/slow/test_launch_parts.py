"""Stage 2 in parts, with marks, averaged weights and random crops, through the command line."""

import shutil

import jax
import numpy as np
import pytest
from command_line import launch, launch_here, metrics, refused

from vqad import checkpoints
from vqad.checkpoints.weights_file import write_weights
from vqad.config import model_from_config
from vqad.config.stored import get_config
from vqad.evaluation.observe import observer
from vqad.stages import STAGES

# Of ml_collections, which loads configurations so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

PARTS = ("restrictions", "object_decoder", "detector")
ALL = f"--config.stages={('stage1', *PARTS, 'stage3')}"
FLAGS = [
    "--config.crop=random",
    "--config.labelled_share=0",
    "--config.stage1.steps=4",
    "--config.stage3.steps=4",
    *[
        f"--config.{part}.{field}={value}"
        for part in PARTS
        for field, value in {
            "steps": 8,
            "batch_size": 4,
            "max_cells": 4,
            "mark_share": 0.5,
            "gray_probability": 0.5,
            "average_decay": 0.9,
            "schedule": "cosine",
            "warmup_steps": 2,
        }.items()
    ],
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts") / "run"
    result = launch(folder, *FLAGS, ALL)
    assert result.returncode == 0, result.stderr
    return folder


def equal(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_all_parts_train_and_are_evaluated(run):
    assert (run / "evaluation.json").exists()
    assert {entry["stage"] for entry in metrics(run)} == {"stage1", *PARTS, "stage3"}
    # Earlier parts keep the bytes of what they were trained from.
    before, _ = checkpoints.load_weights(run / "restrictions")
    after, _ = checkpoints.load_weights(run / "stage3")
    for module in ("autoencoder", "restriction_hi", "restriction_lo"):
        assert equal(before["params"][module], after["params"][module])


def test_averaged_weights_go_on_to_the_same_bits(run, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    for later in ("object_decoder", "detector", "stage3"):
        shutil.rmtree(again / later)
    shutil.rmtree(again / "restrictions" / "8")
    assert checkpoints.latest_step(again / "restrictions") == 4
    stages = f"--config.stages={('stage1', 'restrictions')}"
    result = launch(again, *FLAGS, stages, "--config.evaluation.every_steps=8")
    assert result.returncode == 0, result.stderr
    assert "continuing from step 4" in result.stderr
    (observed,) = (entry["observed"] for entry in metrics(again) if "observed" in entry)
    assert {"features_hi", "I_gen PSNR"} <= observed.keys()
    for item in ("variables", "training"):
        whole, _ = checkpoints.verify.load_item(str(run / "restrictions"), 8, item)
        continued, _ = checkpoints.verify.load_item(str(again / "restrictions"), 8, item)
        assert equal(whole, continued), item
    averaged, raw = checkpoints.load_weights(run / "restrictions")[0]["params"], whole["params"]
    assert raw.keys() == {"restriction_hi", "restriction_lo"}
    assert not equal(raw, {module: averaged[module] for module in raw})


def test_what_is_observed_along_a_stage(run):
    config = get_config(str(run))
    observe = observer(config, model_from_config(config), STAGES["detector"])
    found = observe(checkpoints.load_weights(run / "detector")[0])
    assert {"focal", "I_gen PSNR", "I_spc 1/2", "pixel_ap"} <= found.keys()
    assert 0 <= found["image_auroc"] <= 1


def test_a_run_starts_from_a_weights_file(run, tmp_path):
    variables, metadata = checkpoints.load_weights(run)
    file = tmp_path / "weights.safetensors"
    write_weights(str(file), variables, metadata)
    flags = [
        "--config.stages=('restrictions',)",
        f"--config.init_from={file}",
        "--config.restrictions.steps=0",
    ]
    warm = tmp_path / "warm"
    result = launch(warm, *FLAGS, *flags, "--config.warm_start=('restriction_hi',)")
    assert result.returncode == 0, result.stderr
    found, _ = checkpoints.load_weights(warm)
    half = jax.tree.map(lambda a: a.astype(np.float16).astype(np.float32), variables["params"])
    assert equal(found["params"]["restriction_hi"], half["restriction_hi"])
    assert not equal(found["params"]["restriction_lo"], half["restriction_lo"])
    assert equal(found["codebook"], variables["codebook"])


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--config.stages=('stage1','object_decoder')"], "config.stages"),
        (["--config.stages=('stage1','stage2','stage1')"], "config.stages"),
        ([ALL, "--config.warm_start=('decoder',)"], "config.warm_start"),
        ([ALL, "--config.warm_start=('detector',)"], "config.init_from"),
        (["--config.crop=half"], "config.crop"),
        (["--config.detector.schedule=linear"], "config.detector.schedule"),
        (["--config.detector.average_decay=1.0"], "config.detector.average_decay"),
        (["--config.init_from=none.safetensors", "--config.stages=('stage3',)"], "none"),
    ],
)
def test_bad_settings_are_refused(tmp_path, flags, word):
    assert word in refused(launch_here(tmp_path / "run", *FLAGS, *flags))
