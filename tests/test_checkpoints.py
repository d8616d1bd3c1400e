"""What a checkpoint must hold to be taken, and what a run may change when it goes on."""

import numpy as np
import pytest

from vqad.errors import VqadError
from vqad.training.checkpoints import merge
from vqad.training.config import base_config
from vqad.training.continuation import describe, steps_done
from vqad.training.stages import STAGES


def tree(*layers, module="autoencoder"):
    kernels = {layer: {"kernel": np.ones((2, 3))} for layer in layers}
    return {"params": {module: kernels}, "codebook": {module: {"codes": np.ones(4)}}}


def test_modules_must_fit_whole_and_others_may_be_there():
    source = tree("layer_0", "layer_1")
    source["params"]["detector"] = {"kernel": np.ones(1)}
    merged = merge(tree("layer_0", "layer_1"), source, "run")
    assert set(merged["params"]) == {"autoencoder"}
    with pytest.raises(VqadError, match=r"layer_1\.kernel is left over"):
        merge(tree("layer_0"), source, "run")
    with pytest.raises(VqadError, match=r"layer_2\.kernel is missing"):
        merge(tree("layer_0", "layer_1", "layer_2"), source, "run")
    del source["codebook"]["autoencoder"]
    with pytest.raises(VqadError, match=r"codebook\.autoencoder\.codes is missing"):
        merge(tree("layer_0", "layer_1"), source, "run")


def test_what_changes_no_number_of_training_may_change(tmp_path, monkeypatch):
    config = base_config()
    config.pictures = "/data"
    described = describe(config, STAGES["stage1"], str(tmp_path))
    monkeypatch.setattr("vqad.training.checkpoints.latest_step", lambda _: 7)
    monkeypatch.setattr("vqad.training.checkpoints.load_metadata", lambda _: described)
    config.model.update(remat=True, score_window=5)
    assert steps_done(config, STAGES["stage1"], str(tmp_path)) == 7
    config.model.decay = 0.9
    with pytest.raises(VqadError, match=r"config\.model\.decay: 0\.9"):
        steps_done(config, STAGES["stage1"], str(tmp_path))


def test_a_stage_of_another_origin_is_told(tmp_path, monkeypatch):
    config = base_config()
    config.surface = "/data"
    described = describe(config, STAGES["stage2"], str(tmp_path))
    steps = {"stage1": 9, "stage2": 7}
    monkeypatch.setattr(
        "vqad.training.checkpoints.latest_step", lambda folder: steps.get(folder.name)
    )
    monkeypatch.setattr("vqad.training.checkpoints.load_metadata", lambda _: described)
    with pytest.raises(VqadError, match=r"stage2: was trained from another stage1, .* step 9 of"):
        steps_done(config, STAGES["stage2"], str(tmp_path))
    described["from_step"], steps["stage1"] = 9, None
    with pytest.raises(VqadError, match=r"from step 9 of .*stage1, .* go on from another stage1"):
        steps_done(config, STAGES["stage2"], str(tmp_path))
