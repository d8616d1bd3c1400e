import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqad.data import decode
from vqad.data import source as source_module
from vqad.data.sources import open_source
from vqad.errors import VqadError


@pytest.fixture
def folder(tmp_path):
    """Three training images and one of each label to test, 40 x 60; the defect is 8 x 10."""
    for name, value in (
        ("train/good/0.png", 10),
        ("train/good/1.png", 20),
        ("train/good/2.png", 30),
        ("test/good/0.png", 40),
        ("test/crack/0.png", 50),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 60), value, np.uint8)).save(path)
    mask = np.zeros((40, 60), np.uint8)
    mask[8:16, 20:30] = 255
    (tmp_path / "ground_truth/crack").mkdir(parents=True)
    Image.fromarray(mask).save(tmp_path / "ground_truth/crack/0_mask.png")
    return str(tmp_path)


def test_train_split_has_images_alone(folder):
    source = open_source(folder, "train", (32, 64))
    assert (len(source), source.classes, source.name) == (3, ("good",), folder)
    assert source.names(1) == "train/good/1.png"
    (image,) = source[1].values()
    assert (image.shape, image.dtype) == ((32, 64, 3), np.uint8)
    assert (image == 20).all()


def test_test_split_has_masks_labels_and_classes(folder):
    source = open_source(folder, "test", (20, 30))
    assert source.classes == ("good", "crack")
    good, crack = source[0], source[1]
    assert (good["label"], good["class_id"], good["mask"].sum()) == (0, 0, 0)
    assert (crack["label"], crack["class_id"]) == (1, 1)
    assert crack["label"].dtype == crack["class_id"].dtype == np.int32
    expected = np.zeros((20, 30), np.uint8)
    expected[4:8, 10:15] = 1
    np.testing.assert_array_equal(crack["mask"], expected)


def test_without_a_size_images_keep_their_own(folder):
    assert open_source(folder, "train", None)[0]["image"].shape == (40, 60, 3)
    assert open_source(folder, "test", None)[1]["mask"].sum() == 80


def test_a_range_of_values_is_that_of_all_images(folder, caplog):
    for i in range(3):
        deep = np.linspace(0, 4095, 2400).round().astype(np.uint16).reshape(40, 60)
        Image.fromarray(deep).save(f"{folder}/train/good/{i}.png")
    dark = open_source(folder, "train", None)
    assert dark[0]["image"].max() == 16
    assert "no value above a quarter of its 16 bits" in caplog.text
    caplog.clear()
    source = open_source(folder, "train", None, value_range=(0, 4095))
    assert source[0]["image"].max() == 255
    assert not caplog.text


def test_index_out_of_range(folder):
    source = open_source(folder, "train", None)
    for index in (3, -1):
        with pytest.raises(IndexError):
            source[index]


def count_decoding(monkeypatch):
    calls = []

    def counting(data, size, name, value_range):
        calls.append(name)
        return decode.decode(data, size, name, value_range)

    monkeypatch.setattr(source_module, "decode", counting)
    return calls


def test_cache_keeps_what_fits(folder, monkeypatch):
    calls = count_decoding(monkeypatch)
    one = 32 * 32 * 3
    source = open_source(folder, "train", (32, 32), cache_bytes=2 * one)
    first = [source[i]["image"] for i in range(3)]
    second = [source[i]["image"] for i in range(3)]
    np.testing.assert_array_equal(first, second)
    assert len(calls) == 3 + 1  # the third does not fit
    with pytest.raises(ValueError, match="read-only"):
        second[0][0, 0] = 1  # nobody can spoil what is kept
    source[0]["image"] = None
    assert source[0]["image"] is not None


def test_threads_may_share_a_source(folder):
    source = open_source(folder, "train", (16, 16))
    seen = []

    def read():
        seen.extend(int(source[i % 3]["image"][0, 0, 0]) == 10 * (i % 3 + 1) for i in range(60))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 480
    assert all(seen)


def test_sources_that_do_not_exist(tmp_path):
    with pytest.raises(VqadError, match="no source given"):
        open_source("", "train", None)
    with pytest.raises(VqadError, match="no such folder"):
        open_source(str(tmp_path / "gone"), "train", None)
    with pytest.raises(VqadError, match="tfds:no_such_set: no such TFDS data set"):
        open_source("tfds:no_such_set", "train", None, data_dir=str(tmp_path))


def test_tfds_set_that_is_not_prepared(tmp_path):
    with pytest.raises(
        VqadError, match=r"tfds:mnist: not prepared in .*prepare it by `tfds.builder"
    ):
        open_source("tfds:mnist", "train", None, data_dir=str(tmp_path))


WITHOUT = """
import platform, sys
for name in ("array_record", "fcntl", "tensorflow_datasets"):
    sys.modules[name] = None
system, platform.system = platform.system, lambda: "Windows"  # there, Grain needs no array_record
import grain
platform.system = system
from vqad.data.pipeline import training_batches
from vqad.data.sources import open_source
import vqad.run
source = open_source(sys.argv[1], "train", (32, 64))
options = {"batch_size": 2, "image_size": (32, 64), "seed": 0, "random_crop": True}
batches = training_batches(source, **options)
print([next(batches)["image"].shape for _ in range(2)])
try:
    open_source("tfds:surface_demo/tiles", "train", None)
except vqad.VqadError as error:
    print(error)
from vqad.cli import main
print(main(["prepare", "ksdd2", "gone.zip"]))
"""


def test_training_from_a_folder_needs_nothing_that_windows_lacks(folder):
    line = [sys.executable, "-c", WITHOUT, folder]
    result = subprocess.run(line, capture_output=True, text=True)
    shapes, *told, code = result.stdout.splitlines()
    assert shapes == "[(2, 32, 64, 3), (2, 32, 64, 3)]", result.stderr
    # What does need it says so.
    (refused,) = told
    assert refused.startswith("tfds:surface_demo/tiles: needs tensorflow-datasets, which cannot")
    assert code == "2"
    assert "error: vqad prepare: needs tensorflow-datasets, which" in result.stderr
    assert "Traceback" not in result.stderr


def test_data_stands_on_errors_and_paths_alone():
    for path in (Path(source_module.__file__).parent).rglob("*.py"):
        found = set(re.findall(r"^\s*(?:from|import) vqad\.?(\w*)", path.read_text(), re.MULTILINE))
        assert found <= {"data", "errors", "paths"}, path
