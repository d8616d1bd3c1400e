"""What commands and `predict` make of the pictures that they are given, and what they say of it."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from small_model import write_small_model

import vqad
from vqad.cli import main
from vqad.errors import VqadError
from vqad.prediction import thresholds
from vqad.prediction.inputs import decoded, gather

SIZE = {"image_size": [32, 32]}
RNG = np.random.default_rng(0)


def picture(height=32, width=32):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def deep():
    """Of 12 bits in 16."""
    return picture()[..., 0].astype(np.uint16) * 16


def write(path, image=None, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture() if image is None else image).save(path, **how)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("model") / "weights")


@pytest.fixture
def detector(folder):
    return vqad.load(folder)


def test_pages_are_gathered_each_with_a_name(tmp_path):
    tifffile.imwrite(tmp_path / "p.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    write(tmp_path / "q.tif")
    write(tmp_path / "p[1].png")
    inputs = gather([str(tmp_path)])
    paths = [os.path.relpath(one.path, tmp_path) for one in inputs]
    assert paths == ["p.tif[0]", "p.tif[1]", "p.tif[2]", "p[1].png", "q.tif"]
    assert [str(one.name) for one in inputs] == ["p[0]", "p[1]", "p[2]", "p[1]-2", "q"]
    (one,) = gather([f"{tmp_path}/p.tif[2]"])
    assert (one.path, str(one.name)) == (f"{tmp_path}/p.tif[2]", "p[2]")


def test_a_tiff_without_pages_is_skipped_not_passed_over(tmp_path):
    (tmp_path / "none.tif").write_bytes(b"II*\0" + bytes(4))
    write(tmp_path / "part.png")
    (_, broken), (_, sound) = decoded(gather([str(tmp_path)]), None)
    assert "none.tif: damaged or incomplete: no picture in it" in str(broken)
    assert sound.image.shape == (32, 32, 3)


def test_predict_command_names_what_it_leaves_out(folder, tmp_path, capsys):
    line = tmp_path / "line"
    pages = np.stack([picture()[..., 0] for _ in range(2)])
    line.mkdir()
    tifffile.imwrite(line / "p.tif", pages, photometric="minisblack")
    write(line / "deep.png", deep())
    write(line / "deep2.png", deep())
    write(line / "strip.png", picture(20, 400))
    out = tmp_path / "out"
    assert main(["predict", str(folder), str(line), "--out", str(out)]) == 0
    said = capsys.readouterr()
    counted = "5 images, 0 skipped (dark: 2, squeezed: 1)"
    assert counted in said.out
    assert said.err.count("no value above a quarter of its 16 bits") == 1
    assert f"dark: {line}/deep.png: no value above a quarter" in said.err
    assert f"{line}/strip.png: 400 x 20 is made 32 x 32 (width x height)" in said.err
    assert "--tile" in said.err
    entries = [json.loads(entry) for entry in (out / "predictions.jsonl").read_text().splitlines()]
    assert [entry["file"] for entry in entries][2:4] == [f"{line}/p.tif[0]", f"{line}/p.tif[1]"]
    assert os.path.exists(out / "masks" / "p[1].png")
    options = ["--out", str(tmp_path / "out2"), "--tile", "--value-range=0,4095"]
    assert main(["predict", str(folder), f"{line}/deep.png", f"{line}/strip.png", *options]) == 0
    told = capsys.readouterr().err
    assert "warning: dark" not in told
    assert "vqad calibrate --tile --value-range=0,4095 sets thresholds" in told


def test_patterns_tell_of_links_to_nothing(tmp_path):
    write(tmp_path / "part.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    left = []
    (part,) = gather([f"{tmp_path}/*.png"], left=left)
    assert part.path == f"{tmp_path}/part.png"
    assert [finding.check for finding in left] == ["link-broken"]


def test_the_same_part_in_all_ways(detector, tmp_path, caplog):
    part = picture(40, 30)
    turned = Image.Exif()
    turned[0x0112] = 6
    path = write(tmp_path / "part.png", part, exif=turned)
    with Image.open(path) as image:
        data = Path(path).read_bytes()
        ways = [path, image, data, io.BytesIO(data), np.rot90(part, -1)]
        found = [detector.predict(way) for way in ways]
    for each in found:
        np.testing.assert_array_equal(each.masks, found[0].masks)
    assert found[0].masks.shape == (30, 40)
    # Paths in a table's column.
    several = detector.predict(np.array([path, path], object))
    assert several.scores.shape == (2,)
    assert not caplog.messages


def test_python_says_once_what_it_leaves_out(detector, caplog):
    dark = deep()
    detector.predict([picture(), dark, dark])
    detector.predict(dark)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("warning: dark: images[1]: no value above a quarter")
    assert str(detector.remarks) == "dark: 3"
    detector.predict(picture(20, 400), tile=True)
    assert len(caplog.messages) == 1


def test_a_value_range_is_kept_with_thresholds(folder, tmp_path, capsys):
    for number in range(9):
        write(tmp_path / "good" / f"{number}.png", deep())
    line = ["calibrate", str(folder), str(tmp_path / "good"), "--false_alarms=0.1"]
    try:
        assert main(line) == 0
        assert "no value above a quarter" in capsys.readouterr().err
        assert main([*line, "--value-range=0,4095"]) == 0
        assert "no value above a quarter" not in capsys.readouterr().err
        again = vqad.load(folder)
        assert again.value_range == again.thresholds.value_range == (0, 4095)
        path = str(tmp_path / "good/3.png")
        scaled = np.round(np.asarray(Image.open(path)) / 4095 * 255).astype(np.uint8)
        np.testing.assert_array_equal(again.predict(path).masks, again.predict(scaled).masks)
        assert again.predict(path).verdicts is not None
        # Thresholds say nothing of pictures that are read by another range.
        other = vqad.load(folder, value_range=(0, 1023))
        assert other.predict(path).verdicts is None
    finally:
        (folder / thresholds.FILE).unlink()
    for odd in ("1", "5,5", "a,b", "0,inf"):
        assert main([*line, f"--value-range={odd}"]) == 2
        assert "must be LOW,HIGH" in capsys.readouterr().err
    with pytest.raises(VqadError, match="value_range"):
        vqad.load(folder, value_range=(3, 1))


def test_a_trained_range_is_that_of_the_model(tmp_path):
    folder = write_small_model(tmp_path / "weights", config={**SIZE, "value_range": [0, 4095]})
    assert vqad.load(folder).value_range == (0, 4095)
    with pytest.raises(VqadError, match="value_range"):
        vqad.load(write_small_model(tmp_path / "odd", config={**SIZE, "value_range": [5, 1]}))


def test_damaged_ranges_of_thresholds(folder, detector):
    detector.calibrate([picture() for _ in range(9)], 0.1)
    path = thresholds.write(str(folder), detector.thresholds)
    entries = json.loads(path.read_text())
    try:
        for odd in (0, [1], [2, 1], "ab", [0, "1"], []):
            path.write_text(json.dumps({**entries, "value_range": odd}))
            with pytest.raises(VqadError, match=r"thresholds\.json: cannot be read"):
                vqad.load(folder)
        path.write_text(json.dumps({k: v for k, v in entries.items() if k != "value_range"}))
        assert vqad.load(folder).value_range is None  # from before it was known
    finally:
        path.unlink()


def test_calibrate_takes_pages_and_one_picture_is_one(folder, detector, tmp_path):
    data = io.BytesIO()
    pages = np.stack([picture()[..., 0] for _ in range(9)])
    tifffile.imwrite(data, pages, photometric="minisblack")
    (tmp_path / "good.tif").write_bytes(data.getvalue())
    assert main(["calibrate", str(folder), str(tmp_path / "good.tif"), "--false_alarms=0.1"]) == 0
    (folder / thresholds.FILE).unlink()
    with pytest.raises(VqadError, match="1 good images are too few"):
        detector.calibrate(write(tmp_path / "a.png"), 0.1)
