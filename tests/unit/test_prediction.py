"""A detector in use: from Python, from the command line, with tiles and thresholds."""

import csv
import itertools
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from small_model import write_small_model

import vqad
from vqad.cli import main
from vqad.data.decode import resize_image
from vqad.errors import VqadError
from vqad.interop import load as loading
from vqad.prediction import scoring, thresholds
from vqad.prediction.inputs import gather

RNG = np.random.default_rng(0)


def picture(height=32, width=32, rng=RNG):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("model") / "weights")


@pytest.fixture(scope="module")
def detector(folder):
    return vqad.load(folder)


@pytest.fixture
def calibrated(folder):
    """The same folder with thresholds, for one test."""
    detector = vqad.load(folder)
    rng = np.random.default_rng(1)
    detector.calibrate([picture(rng=rng) for _ in range(9)], 0.1)
    path = thresholds.write(str(folder), detector.thresholds)
    yield detector
    path.unlink()


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def test_one_image_a_batch_and_a_list_say_the_same(detector, tmp_path):
    images = np.stack([picture() for _ in range(3)])
    batch = detector.predict(images, batch_size=2)
    assert batch.scores.shape == (3,)
    assert batch.masks.shape == (3, 32, 32)
    assert batch.masks.dtype == batch.scores.dtype == np.float32
    assert batch.verdicts is None
    one = detector.predict(images[1])
    assert one.scores.shape == ()
    assert one.masks.shape == (32, 32)
    paths = [write(tmp_path / f"{i}.png", image) for i, image in enumerate(images)]
    for other in (
        detector.predict(paths, batch_size=2),
        detector.predict(images.astype(np.float32) / 255, batch_size=2),
    ):
        np.testing.assert_array_equal(other.scores, batch.scores)
        np.testing.assert_array_equal(other.masks, batch.masks)
    # Programs for batches of one and of two differ in rounding.
    np.testing.assert_allclose(one.scores, batch.scores[1], rtol=1e-4)
    np.testing.assert_allclose(one.masks, batch.masks[1], atol=1e-4)


def test_masks_have_the_size_of_their_images(detector):
    grey = picture(50, 41)[..., 0]
    found = detector.predict([picture(), grey])
    assert [mask.shape for mask in found.masks] == [(32, 32), (50, 41)]
    alone = detector.predict(np.repeat(grey[..., None], 3, axis=-1))
    np.testing.assert_allclose(found.masks[1], alone.masks, atol=1e-4)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 5), np.uint8), r"image: an array of shape \(8, 8, 5\)"),
        (np.zeros((3, 8, 8), np.uint8), "move the channels last"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"images\[0\]: .*move the channels last"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        (np.zeros((8, 8, 3), np.int32), "int32 values, of which nothing tells"),
        (np.zeros((8, 8), complex), "complex128; give a path"),
        (None, "image: None; give a path"),
        ([None], r"images\[0\]: None; give a path"),
        (3, "int; give a path"),
        (b"123", "image: not a picture in a known format"),
        ("https://example.org/a.png", "a URL, which is not fetched"),
        (Path(__file__).parent, "unit: a folder, not a picture; give the pictures in it"),
        (np.full((8, 8, 3), 1.5), r"outside \[0, 1\]"),
        (np.full((8, 8, 3), np.nan), "no number"),
        (np.zeros((2, 2, 8, 8, 3), np.uint8), r"shape \(2, 8, 8, 3\)"),
        (Image.new("LAB", (8, 8)), "colours kept as LAB"),
        ([], "none given"),
        ("nowhere.png", "no such file"),
    ],
)
def test_other_arrays_are_refused(detector, image, message):
    with pytest.raises(VqadError, match=message):
        detector.predict(image)


def test_pictures_of_other_libraries(detector):
    image = picture(40, 30)
    expected = detector.predict(image)
    for other in (jnp.asarray(image), Image.fromarray(image)):
        found = detector.predict(other)
        np.testing.assert_array_equal(found.masks, expected.masks)
    assert detector.predict(jnp.stack([image, image])).masks.shape == (2, 40, 30)


def test_programs_are_compiled_once_for_a_size(detector, monkeypatch):
    sizes = []
    predict = detector.predict_batch
    monkeypatch.setattr(
        detector, "predict_batch", lambda batch: sizes.append(len(batch)) or predict(batch)
    )
    detector.predict([picture() for _ in range(7)], batch_size=4)
    detector.predict([picture(64, 64) for _ in range(5)], batch_size=4)
    detector.predict([picture(64, 64)], batch_size=4)
    detector.predict(picture(64, 64), tile=True, overlap=0, batch_size=4)
    detector.predict(picture(64, 64))
    assert sizes == [4, 4, 4, 4, 4, 4, 1]


def test_predictions_that_are_not_finite_are_no_verdict(detector, monkeypatch):
    found = {"score": np.array([0.5, np.nan]), "mask": np.zeros((2, 32, 32), np.float32)}
    monkeypatch.setattr(detector, "predict_batch", lambda batch: found)
    for use in (detector.predict, detector.calibrate):
        with pytest.raises(VqadError, match="weights: its predictions are not finite"):
            use([picture(), picture()], batch_size=2)


def test_tiles_equal_what_is_found_in_them_alone(detector):
    image = picture(48, 70)
    tiled = detector.predict(image, tile=True, overlap=8)
    assert tiled.masks.shape == (48, 70)
    corner = detector.predict([image[:32, :32]], batch_size=8)
    places = scoring.places((48, 70), (32, 32), 8)
    assert places[:3] == [(0, 0), (0, 19), (0, 38)]
    alone = detector.predict(list(scoring.cut(image, places, (32, 32))))
    assert tiled.scores == alone.scores.max()
    # Where no other tile reaches.
    np.testing.assert_allclose(tiled.masks[:16, :19], alone.masks[0][:16, :19], atol=1e-6)
    np.testing.assert_allclose(tiled.masks[:16, :19], corner.masks[0][:16, :19], atol=1e-4)
    # Between, a value between.
    both = np.stack([alone.masks[0][:16, 19:32], alone.masks[1][:16, :13]])
    seam = tiled.masks[:16, 19:32]
    assert np.all((seam >= both.min(0) - 1e-6) & (seam <= both.max(0) + 1e-6))
    assert np.abs(seam[:, 0] - both[0][:, 0]).max() < np.abs(seam[:, 0] - both[1][:, 0]).max()


@pytest.mark.parametrize(("length", "overlap"), [(32, 0), (33, 8), (64, 0), (65, 0), (500, 31)])
def test_tiles_cover_a_side(length, overlap):
    found = scoring.starts(length, 32, overlap)
    assert found[0] == 0
    assert found[-1] == length - 32
    assert all(0 < b - a <= 32 - overlap for a, b in itertools.pairwise(found))


def test_small_images_are_resized_though_tiles_are_wanted(detector):
    image = picture(20, 30)
    np.testing.assert_array_equal(
        detector.predict(image, tile=True).masks, detector.predict([image]).masks[0]
    )
    with pytest.raises(VqadError, match="overlap: 32"):
        detector.predict(picture(64, 64), tile=True, overlap=32)


def test_a_short_side_is_continued_by_its_mirror_image_and_the_long_one_cut(detector):
    image = picture(20, 64)
    found = detector.predict(image, tile=True, overlap=0)
    assert found.masks.shape == (20, 64)
    whole = np.concatenate([image, image[:7:-1]])
    assert whole.shape == (32, 64, 3)
    parts = detector.predict([whole[:, :32], whole[:, 32:]])
    wanted = np.concatenate(list(parts.masks), axis=1)[:20]
    np.testing.assert_allclose(found.masks, wanted, atol=1e-6)  # weighted, then divided
    assert found.scores == parts.scores.max()


def test_verdicts_follow_the_thresholds(folder, calibrated):
    again = vqad.load(folder)
    assert again.thresholds == calibrated.thresholds
    images = [picture() for _ in range(6)]
    found = again.predict(images)
    np.testing.assert_array_equal(found.verdicts, found.scores > again.thresholds.score)
    np.testing.assert_array_equal(found.marks, found.masks > again.thresholds.pixel)
    # Thresholds of whole images say nothing of tiles, nor do those of another overlap.
    assert again.predict(picture(64, 64), tile=True).verdicts is None
    again.calibrate([picture(64, 64) for _ in range(9)], 0.1, tile=True, overlap=4)
    assert again.predict(picture(64, 64), tile=True).verdicts is None
    assert again.predict(picture(64, 64), tile=True, overlap=4).verdicts.shape == ()


def test_pixel_thresholds_hold_for_maps_of_both_sizes(folder):
    detector = vqad.load(folder)
    good = [picture(20, 20) for _ in range(9)]
    limits = detector.calibrate(good, 0.1)
    assert limits.pixel >= max(mask.max() for mask in detector.predict(good).masks)
    resized = [resize_image(image, (32, 32)) for image in good]
    assert limits.pixel == pytest.approx(max(detector.predict(resized).masks.max((1, 2))), abs=0)


def test_damaged_and_stale_thresholds(folder, calibrated):
    path = folder / thresholds.FILE
    entries = json.loads(path.read_text())
    for other in ({"step": 7}, {"weights": entries["weights"] ^ 1}):
        path.write_text(json.dumps({**entries, **other}))
        assert vqad.load(folder).thresholds is None
    others = [{**entries, "score": "1"}, {**entries, "overlap": 3}, {}]
    others += [{**entries, "score": 10**400}, {**entries, "weights": "a"}]
    for damaged in ("{", "[]", "[" * 100_000, *map(json.dumps, others)):
        path.write_text(damaged)
        with pytest.raises(VqadError, match=r"thresholds\.json: cannot be read"):
            vqad.load(folder)
    path.unlink()
    os.mkfifo(path)  # opened, it would be waited for
    with pytest.raises(VqadError, match=r"thresholds\.json: cannot be read"):
        vqad.load(folder)
    path.unlink()
    path.write_text(json.dumps({key: entries[key] for key in entries if key != "weights"}))
    assert vqad.load(folder).thresholds.score == entries["score"]  # from before they were known
    path.write_text(json.dumps(entries))


def test_predict_command(folder, calibrated, tmp_path, capsys):
    root = tmp_path / "parts"
    write(root / "a.png", picture(40, 50))
    write(root / "sub" / "a.png", picture())
    (root / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    given = [str(root), str(root / "a.png"), str(root / "sub" / "*.png")]
    assert main(["predict", str(folder), *given, "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "2 images, 1 skipped" in said.out
    assert "broken.png: not a picture" in said.err
    entries = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [entry["file"] for entry in entries] == [
        str(root / name) for name in ("a.png", "broken.png", "sub/a.png")
    ]
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for entry, row in zip(entries, rows, strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in entry.items()}
    detector = vqad.load(folder)
    for entry in (entries[0], entries[2]):
        found = detector.predict([entry["file"]], batch_size=1)
        assert entry["score"] == pytest.approx(float(found.scores[0]), rel=1e-4)
        assert entry["verdict"] in ("good", "defective")
        mask = np.asarray(Image.open(out / entry["mask"]))
        overlay = np.asarray(Image.open(out / entry["overlay"]))
        assert mask.shape == found.masks[0].shape
        assert overlay.shape == (*mask.shape, 3)
        assert entry["marked"] == pytest.approx(mask.mean())
        sure = np.abs(found.masks[0] - detector.thresholds.pixel) > 1e-4
        np.testing.assert_array_equal(mask[sure], found.marks[0][sure])
    assert entries[1]["score"] is None


def test_predict_command_takes_any_name(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(write(tmp_path / "=1.png", picture()).parent)
    os.rename(write(tmp_path / "odd.png", picture()), os.fsencode(tmp_path) + b"/\xff.png")
    write(tmp_path / "x.png" / "1.png", picture())
    write(tmp_path / "x.jpg", picture())
    write(tmp_path / "ground_truth" / "x_mask.png", picture())
    given = ["=1.png", "."]
    assert main(["predict", str(folder), *given, "--out=out"]) == 0
    assert "4 images, 0 skipped" in capsys.readouterr().out
    with open("out/predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["'=1.png", "x.jpg", "x.png/1.png", "\\udcff.png"]
    lines = Path("out/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["file"] for line in lines] == [
        "=1.png",
        "x.jpg",
        "x.png/1.png",
        "\udcff.png",
    ]
    assert all(os.path.exists(f"out/{json.loads(line)['mask']}") for line in lines)


def test_predict_command_with_tiles(folder, tmp_path):
    path = write(tmp_path / "a.png", picture(40, 50))
    out = tmp_path / "out"
    line = ["predict", str(folder), str(path), "--out", str(out), "--tile", "--overlap=4"]
    assert main(line) == 0
    entry = json.loads((out / "predictions.jsonl").read_text())
    found = vqad.load(folder).predict(str(path), tile=True, overlap=4)
    assert entry["score"] == float(found.scores)


def test_commands_refuse_bad_arguments(folder, tmp_path, capsys):
    def refused(*argv):
        assert main([*argv]) == 2
        return capsys.readouterr().err

    image = str(write(tmp_path / "a.png", picture()))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    out = ["--out", str(tmp_path / "out")]
    full = ["--out", str(tmp_path / "full")]
    assert "not an empty folder" in refused("predict", str(folder), image, *full)
    assert "no picture there" in refused("predict", str(folder), str(tmp_path / "*.jpg"), *out)
    assert "no such folder" in refused("predict", str(tmp_path / "none"), image, *out)
    assert "--batch=0" in refused("predict", str(folder), image, *out, "--batch=0")
    assert "add --tile" in refused("predict", str(folder), image, *out, "--overlap=3")
    assert "give 0 to 31" in refused("predict", str(folder), image, *out, "--tile", "--overlap=32")
    assert not (tmp_path / "out").exists()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    assert "no picture could be read" in refused("predict", str(folder), str(broken), *out)
    assert "--false-alarms: 1" in refused("calibrate", str(folder), image, "--false_alarms=1")
    assert "1 good images are too few" in refused("calibrate", str(folder), image)
    assert "add --tile" in refused("calibrate", str(folder), image, "--overlap=3")
    assert not (folder / thresholds.FILE).exists()


def test_calibration_wants_good_images_that_are_new(folder, tmp_path, monkeypatch, capsys):
    write(tmp_path / "test" / "scratch" / "a.png", picture())
    write(tmp_path / "test" / "good" / "a.png", picture())
    write(tmp_path / "train" / "good" / "a.png", picture())
    detector = vqad.load(folder)
    detector.metadata["surface_folder"] = str(tmp_path)
    monkeypatch.setattr(loading, "load", lambda path, **how: detector)

    def refused(images):
        line = ["calibrate", str(folder), str(tmp_path / images), "--false_alarms=0.5"]
        assert main(line) == 2
        return capsys.readouterr().err

    good = tmp_path / "test" / "good"
    assert f"scratch/a.png: lies among defects; give {good}" in refused("test")
    assert "train/good/a.png: lies among the training images" in refused("train")
    flat = write(tmp_path / "flat" / "a.png", picture()).parent
    detector.metadata["surface_folder"] = str(flat)
    assert "flat/a.png: lies among the training images" in refused("flat")
    write(tmp_path / "other" / "1.png", picture())
    write(tmp_path / "other" / "1_GT.png", np.zeros((50, 60), np.uint8))
    write(tmp_path / "other" / "2.png", picture())
    write(tmp_path / "other" / "2_GT.png", np.eye(50, 60, dtype=np.uint8) * 255)
    assert "other/2.png: its mask marks a defect" in refused("other")
    (tmp_path / "other" / "2.png").unlink()
    assert main(["calibrate", str(folder), str(good), "--false_alarms=0.5"]) == 0
    (folder / thresholds.FILE).unlink()


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def walk(folder, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder)))
        return iter(())

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(VqadError, match="Permission denied"):
        gather([str(tmp_path)])


def test_ctrl_c_is_told_in_one_line(folder, tmp_path, monkeypatch, capsys):
    def stop(path, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "load", stop)
    image = str(write(tmp_path / "a.png", picture()))
    assert main(["predict", str(folder), image, "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err.splitlines() == ["interrupted; what was written whole is kept"]


def test_calibrate_command(folder, tmp_path, capsys):
    for i in range(9):
        write(tmp_path / "good" / f"{i}.png", picture())
    command = ["calibrate", str(folder), str(tmp_path / "good"), "--false_alarms=0.1"]
    assert main(command) == 0
    assert f"written: {folder / thresholds.FILE}" in capsys.readouterr().out
    detector = vqad.load(folder)
    limits = detector.thresholds
    found = detector.predict(sorted((tmp_path / "good").iterdir()))
    assert limits.score == max(found.scores)
    assert limits.pixel == max(found.masks.max((1, 2)))
    assert (limits.images, limits.rate, limits.tiled) == (9, 0.1, False)
    (folder / thresholds.FILE).unlink()


def test_names_do_not_collide(tmp_path):
    for name in ("a.png", "b/a.png", "c/a.jpg", "c/A.png"):
        write(tmp_path / name, picture())
    given = [str(tmp_path / "b"), str(tmp_path / "c" / "*"), str(tmp_path / "a.png")]
    names = [str(one.name) for one in gather(given)]
    assert len(names) == len({name.lower() for name in names}) == 4
    assert len(gather([str(tmp_path), str(tmp_path / "a.png")])) == 4
