"""What a checkpoint must hold to be taken, and what a run may change when it goes on."""

import errno
import json
import shutil

import numpy as np
import pytest

from vqad import checkpoints
from vqad.checkpoints import merge, verify
from vqad.config import base_config
from vqad.errors import VqadError
from vqad.stages import STAGES
from vqad.training.resume import describe, steps_done


def tree(*layers, module="autoencoder"):
    kernels = {layer: {"kernel": np.ones((2, 3), np.float32)} for layer in layers}
    return {"params": {module: kernels}, "codebook": {module: {"codes": np.ones(4, np.float32)}}}


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
    monkeypatch.setattr("vqad.checkpoints.latest_step", lambda _: 7)
    monkeypatch.setattr("vqad.checkpoints.load_metadata", lambda _: described)
    config.model.update(remat=True, score_window=5)
    assert steps_done(config, STAGES["stage1"], str(tmp_path)) == 7
    config.model.decay = 0.9
    with pytest.raises(VqadError, match=r"config\.model\.decay: 0\.9"):
        steps_done(config, STAGES["stage1"], str(tmp_path))


def test_a_stage_goes_on_with_its_range_of_values(tmp_path, monkeypatch):
    config = base_config()
    config.pictures, config.value_range = "/data", (0, 4095)
    described = describe(config, STAGES["stage1"], str(tmp_path))
    monkeypatch.setattr("vqad.checkpoints.latest_step", lambda _: 7)
    monkeypatch.setattr("vqad.checkpoints.load_metadata", lambda _: described)
    assert steps_done(config, STAGES["stage1"], str(tmp_path)) == 7
    del described["fixed"]["value_range"]  # from before there was one
    with pytest.raises(VqadError, match=r"config\.value_range: \[0, 4095\], but .* with \[\]"):
        steps_done(config, STAGES["stage1"], str(tmp_path))
    config.value_range = ()
    assert steps_done(config, STAGES["stage1"], str(tmp_path)) == 7


def test_settings_that_change_in_mid_stage_are_told(tmp_path, monkeypatch, caplog):
    config = base_config()
    config.pictures = "/data"
    described = describe(config, STAGES["stage1"], str(tmp_path))
    monkeypatch.setattr("vqad.checkpoints.latest_step", lambda _: 7)
    monkeypatch.setattr("vqad.checkpoints.load_metadata", lambda _: described)
    caplog.set_level("INFO", "vqad")
    config.stage2.learning_rate = 1e-3
    assert steps_done(config, STAGES["stage1"], str(tmp_path)) == 7
    assert not caplog.messages
    config.stage1.update(learning_rate=1e-3, hi_dropout=0.5)
    steps_done(config, STAGES["stage1"], str(tmp_path))
    told = "hi_dropout 0.0 -> 0.5, learning_rate 0.0002 -> 0.001"
    assert caplog.messages == [f"stage1: goes on with other settings: {told}"]
    config.stage1.steps = 7  # nothing is left to train
    steps_done(config, STAGES["stage1"], str(tmp_path))
    assert len(caplog.messages) == 1


def test_a_stage_of_another_origin_is_told(tmp_path, monkeypatch):
    config = base_config()
    config.surface = "/data"
    described = describe(config, STAGES["stage2"], str(tmp_path))
    steps = {"stage1": 9, "stage2": 7}
    monkeypatch.setattr("vqad.checkpoints.latest_step", lambda folder: steps.get(folder.name))
    monkeypatch.setattr("vqad.checkpoints.load_metadata", lambda _: described)
    with pytest.raises(VqadError, match=r"stage2: was trained from another stage1, .* step 9 of"):
        steps_done(config, STAGES["stage2"], str(tmp_path))
    described["from_step"], steps["stage1"] = 9, None
    with pytest.raises(VqadError, match=r"from step 9 of .*stage1, .* go on from another stage1"):
        steps_done(config, STAGES["stage2"], str(tmp_path))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with two checkpoints."""
    folder = tmp_path_factory.mktemp("written") / "stage1"
    manager = checkpoints.open_manager(str(folder))
    for step in (1, 2):
        checkpoints.save(
            manager, step, tree("layer"), {"fixed": {"seed": 0}}, {"step": np.int32(0)}
        )
    checkpoints.finish(manager)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "stage1")


def test_links_below_a_checkpoint_are_refused_and_not_followed(folder, tmp_path):
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert checkpoints.load_weights(str(linked))[1]["step"] == 2
    for step in ("1", "2"):
        (folder / step / "variables" / "loop").symlink_to(".")
    with pytest.raises(checkpoints.DamagedCheckpoint, match="variables/loop is a link"):
        checkpoints.load_weights(str(linked))


@pytest.mark.parametrize("name", ["digests", "variables", "metadata"])
def test_a_digest_whose_name_was_changed_is_missed(folder, name):
    path = folder / "2" / "metadata" / "metadata"
    found = json.loads(path.read_text())
    named = found if name == "digests" else found["digests"]
    named[name + "x"] = named.pop(name)
    path.write_text(json.dumps(found))
    with pytest.raises(checkpoints.DamagedCheckpoint, match="not those that were written"):
        verify.load_item(str(folder), 2, "variables")


class Answer(Exception):
    code = 503


def wrapped():
    error = Exception("Encountered error while reading array index")
    error.__cause__ = ValueError("PERMISSION_DENIED: Error reading local file")
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ESTALE, "Stale file handle"),
        OSError(errno.EMFILE, "Too many open files"),
        PermissionError(errno.EACCES, "Permission denied"),
        MemoryError(),
        Answer("Service Unavailable"),
        wrapped(),
    ],
    ids=repr,
)
def test_what_the_system_cannot_read_now_is_not_damaged(folder, monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(verify, "_metadata", fail)
    for reading in (checkpoints.load_weights, checkpoints.set_aside_damaged):
        with pytest.raises(VqadError, match=r"stage1/2: cannot be read now \(.+\); run the same"):
            reading(str(folder))
    assert checkpoints.complete_steps(folder) == [1, 2]


def test_folders_that_are_no_steps(folder):
    for name in ("_5", "x_\N{SUPERSCRIPT TWO}", "\N{SUPERSCRIPT TWO}", "07", "9.tmp"):
        (folder / name).mkdir()
    (folder / "8").touch()
    assert checkpoints.complete_steps(folder) == [1, 2]
    assert checkpoints.load_weights(str(folder))[1]["step"] == 2


def test_state_that_is_gone_is_damage(folder):
    manager = checkpoints.open_manager(str(folder))
    checkpoints.save(manager, 3, tree("layer_0"), {}, {"count": np.zeros((), np.int32)})
    checkpoints.finish(manager)
    assert checkpoints.load_weights(str(folder))[1]["step"] == 3
    shutil.rmtree(folder / "3" / "training")
    checkpoints.set_aside_damaged(str(folder))
    assert checkpoints.complete_steps(folder) == [1, 2]
    assert (folder / "damaged-3").is_dir()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ValueError("odd")])
def test_what_may_stay_unreadable_is_damaged(folder, monkeypatch, error):
    sound = verify._metadata

    def fail(step):
        if step.name == "2":
            raise error
        return sound(step)

    monkeypatch.setattr(verify, "_metadata", fail)
    checkpoints.set_aside_damaged(str(folder))
    assert checkpoints.complete_steps(folder) == [1]
