"""Good images that a run holds out of training, and the thresholds that it sets by them."""

import json
import shutil

import numpy as np
import pytest
from command_line import launch, launch_here, refused
from PIL import Image
from small_model import write_small_model

import vqad
from vqad.checkpoints import load_metadata
from vqad.data.sources import open_source
from vqad.errors import VqadError
from vqad.prediction.thresholds import FILE, conformal_quantile

# Of ml_collections, which loads configurations so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(scope="module")
def surface(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surface")
    rng = np.random.default_rng(0)
    for i in range(12):
        image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        (folder / "train" / "good").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "train" / "good" / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def run(surface, tmp_path_factory):
    """A run of stage 3 alone, and its flags."""
    root = tmp_path_factory.mktemp("run")
    kept, _ = open_source(str(surface), "train", (32, 32)).hold_out(0.5)
    weights = write_small_model(root / "weights", lively=True, trained_on=kept.fingerprint())
    flags = [
        "--config.stages=('stage3',)",
        f"--config.init_from={weights}",
        f"--config.surface={surface}",
        "--config.model.code_units=False",
        "--config.calibration.held_out=0.5",
        "--config.calibration.false_alarms=0.2",
    ]
    result = launch(root / "run", *flags)
    assert result.returncode == 0, result.stderr
    return root / "run", flags, result.stderr


def test_images_are_held_out_always_the_same_ones(surface):
    source = open_source(str(surface), "train", (32, 32))
    for share, count in ((0.0, 0), (0.5, 6), (0.25, 3)):
        kept, held = source.hold_out(share)
        assert (len(kept), len(held)) == (12 - count, count)
        names = [part.names(i) for part in (kept, held) for i in range(len(part))]
        assert sorted(names) == [source.names(i) for i in range(12)]
        again = source.hold_out(share)[1]
        assert [again.names(i) for i in range(count)] == names[12 - count :]
        for part in (kept, held):
            for i in range(len(part)):
                image = np.asarray(Image.open(surface / part.names(i)))
                np.testing.assert_array_equal(part[i]["image"], image)


@pytest.mark.slow
def test_a_run_sets_thresholds_by_what_it_held_out(run, surface):
    workdir, _, said = run
    assert "6 good images are held out" in said
    detector = vqad.load(workdir)
    limits = detector.thresholds
    assert (limits.images, limits.rate, limits.step, limits.tiled) == (6, 0.2, 12, False)
    _, held = open_source(str(surface), "train", (32, 32)).hold_out(0.5)
    found = detector.predict([held[i]["image"] for i in range(6)])
    # The ceil(7 x 0.8) = 6th smallest of six.
    assert limits.score == pytest.approx(found.scores.max(), rel=1e-4)
    assert limits.pixel == pytest.approx(found.masks.max(), rel=1e-4)


@pytest.mark.slow
def test_thresholds_are_set_again_where_they_are_lost_or_another_rate_is_wanted(run):
    workdir, flags, _ = run
    path = workdir / "stage3" / FILE
    first = json.loads(path.read_text())
    path.unlink()
    result = launch_here(workdir, *flags, "--config.calibration.false_alarms=0.5", batch=4)
    assert result.returncode == 0, result.stderr
    assert "already trained" in result.stderr
    again = json.loads(path.read_text())
    assert again["rate"] == 0.5
    assert again["score"] < first["score"]
    # Those that vqad calibrate left are not touched.
    assert again["held_out"] is True
    path.write_text(json.dumps({**again, "held_out": False}))
    before = path.read_bytes()
    assert launch_here(workdir, *flags, batch=4).returncode == 0
    assert path.read_bytes() == before


@pytest.mark.slow
def test_images_that_a_stage_was_trained_on_are_not_held_out(run, surface, tmp_path):
    workdir, flags, _ = run
    source = open_source(str(surface), "train", (32, 32))
    # What a run trains on, the next one finds.
    kept, _ = source.hold_out(0.5)
    assert load_metadata(workdir / "stage3")["trained_on"] == kept.fingerprint()
    assert source.fingerprint() != kept.fingerprint() != source.hold_out(0.25)[0].fingerprint()
    for weights in ({}, {"trained_on": source.fingerprint()}):
        folder = write_small_model(tmp_path / f"weights{len(weights)}", **weights)
        line = refused(launch_here(tmp_path / "new", *flags, f"--config.init_from={folder}"))
        assert f"held_out: 0.5, but {folder} was trained on other images" in line
    assert not (tmp_path / "new").exists()
    # Nor are thresholds set by other images than were held out then.
    workdir = shutil.copytree(workdir, tmp_path / "copy")
    (workdir / "stage3" / FILE).unlink()
    moved = surface / "train" / "good" / "00.png"
    moved.rename(surface / "aside.png")
    try:
        line = refused(launch_here(workdir, *flags, batch=4))
    finally:
        (surface / "aside.png").rename(moved)
    assert "holds other training images" in line


@pytest.mark.slow
def test_other_shares_and_too_few_images_are_refused(run, tmp_path):
    workdir, flags, _ = run
    message = refused(launch_here(workdir, *flags, "--config.calibration.held_out=0", batch=4))
    assert "config.calibration.held_out: 0" in message
    assert "was trained with 0.5" in message
    message = refused(
        launch_here(tmp_path / "new", *flags, "--config.calibration.false_alarms=0.1")
    )
    assert "6 good images are too few" in message
    assert "at least 9" in message
    assert not (tmp_path / "new").exists()


def test_a_conformal_quantile_is_the_rank_that_it_says():
    values = np.random.default_rng(0).permutation(99).astype(float)
    assert conformal_quantile(values, 0.01) == 98
    assert conformal_quantile(values, 0.1) == 89
    with pytest.raises(VqadError, match=r"at least 99, or a rate of at least 0\.0101"):
        conformal_quantile(values[:98], 0.01)


def test_the_guarantee_holds_over_calibrations():
    rng = np.random.default_rng(0)
    for rate, count in ((0.05, 39), (0.1, 25)):
        draws = rng.normal(size=(20_000, count + 1))
        limits = np.array([conformal_quantile(row[:-1], rate) for row in draws])
        share = (draws[:, -1] > limits).mean()
        # Exactly floor(rate (n + 1)) / (n + 1) for continuous scores; 4 standard errors.
        exact = int(rate * (count + 1) + 1e-9) / (count + 1)
        assert abs(share - exact) < 4 * np.sqrt(rate / 20_000)
        assert exact <= rate
