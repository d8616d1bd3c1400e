import logging
import os
import re

import numpy as np
import pytest
from etils import epath
from PIL import Image

from vqad.data import checks
from vqad.data.findings import NoTestSplit
from vqad.data.folders import FolderSource
from vqad.data.layouts import Record
from vqad.data.sources import open_source
from vqad.errors import VqadError


def write(path, values=7, size=(32, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, values, np.uint8)).save(path)


def write_mvtec(root):
    for number in (2, 0, 1):
        write(root / f"train/good/{number:03}.png")
    write(root / "test/good/000.jpg")
    write(root / "test/scratch/000.bmp")
    write(root / "test/crack/000.tif")
    write(root / "test/crack/001.PNG")
    write(root / "ground_truth/scratch/000_mask.png", 255)
    write(root / "ground_truth/crack/000.png", 255)
    write(root / "ground_truth/crack/001_mask.png", 255)


def write_ksdd2(root):
    for split in ("train", "test"):
        for number, defect in ((20003, 0), (20001, 0), (20002, 255)):
            write(root / split / f"{number}.png")
            write(root / split / f"{number}_GT.png", defect)
    write(root / "train/20001_GT (copy).png")


def refused(root, split, message):
    with pytest.raises(VqadError, match=message) as caught:
        open_source(str(root), split, None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_any_tree_of_pictures_is_sorted(tmp_path):
    for name in ("b/2.JPEG", "a/c/1.png", "0.tiff", "b/1.bmp"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._0.tiff").write_text("a companion file of macOS")
    source = FolderSource(tmp_path, "train", tree=True)
    assert source.layout == "pictures"
    assert [record.name for record in source.entries] == [
        "0.tiff",
        "a/c/1.png",
        "b/1.bmp",
        "b/2.JPEG",
    ]


def test_mvtec_layout(tmp_path):
    write_mvtec(tmp_path)
    train = FolderSource(tmp_path, "train")
    assert (train.layout, train.classes) == ("mvtec", ("good",))
    assert [r.name[-7:] for r in train.entries] == ["000.png", "001.png", "002.png"]
    test = FolderSource(tmp_path, "test")
    assert test.classes == ("good", "crack", "scratch")
    truth = "ground_truth"
    assert test.entries == [
        Record("test/good/000.jpg", (), "good", "test"),
        Record("test/crack/000.tif", (f"{truth}/crack/000.png",), "crack", "test"),
        Record("test/crack/001.PNG", (f"{truth}/crack/001_mask.png",), "crack", "test"),
        Record("test/scratch/000.bmp", (f"{truth}/scratch/000_mask.png",), "scratch", "test"),
    ]
    assert test.read(1) == (
        str(tmp_path / "test/crack/000.tif"),
        (str(tmp_path / "ground_truth/crack/000.png"),),
        1,
    )


def test_ksdd2_layout_trains_on_good_images_alone(tmp_path):
    write_ksdd2(tmp_path)
    train = FolderSource(tmp_path, "train")
    assert (train.layout, train.classes) == ("ksdd2", ("good",))
    assert [r.name[-9:] for r in train.entries] == ["20001.png", "20003.png"]
    test = FolderSource(tmp_path, "test")
    assert test.classes == ("good", "defect")
    assert [r.label for r in test.entries] == ["good", "defect", "good"]


def test_missing_and_empty_folders(tmp_path):
    refused(tmp_path / "gone", "train", "gone: no such folder; give")
    refused(tmp_path, "train", "no pictures in it")
    refused(tmp_path, "test", "no pictures in it")
    write(tmp_path / "a.png")
    refused(tmp_path / "a.png", "train", "a.png: a file, not a folder")


def test_tree_of_pictures_has_nothing_to_test_on(tmp_path):
    write(tmp_path / "a.png")
    refused(tmp_path, "test", "no test split.*MVTec layout.*KSDD2 layout")
    with pytest.raises(NoTestSplit):
        FolderSource(tmp_path, "test")


def test_splits_that_are_missing_or_empty(tmp_path):
    write(tmp_path / "train/good/0.png")
    refused(tmp_path, "test", "test: no test split")
    write_ksdd2(tmp_path / "ksdd2")
    for path in (tmp_path / "ksdd2/test").iterdir():
        path.unlink()
    (tmp_path / "ksdd2/test").rmdir()
    refused(tmp_path / "ksdd2", "test", "test: no test split")
    (tmp_path / "train/good/0.png").unlink()
    refused(tmp_path, "train", "train/good: no image without a defect")


def test_one_kind_of_test_image_is_not_enough(tmp_path):
    write(tmp_path / "test/good/0.png")
    refused(tmp_path, "test", "no defective image")
    write(tmp_path / "other/test/crack/0.png")
    write(tmp_path / "other/ground_truth/crack/0_mask.png", 255)
    refused(tmp_path / "other", "test", "no good image")


def test_ksdd2_without_a_good_image_cannot_be_trained_on(tmp_path):
    write(tmp_path / "train/1.png")
    write(tmp_path / "train/1_GT.png", 255)
    refused(tmp_path, "train", "no image without a defect")


def test_missing_mask_names_image_and_mask(tmp_path):
    write_mvtec(tmp_path / "a")
    (tmp_path / "a/ground_truth/scratch/000_mask.png").rename(tmp_path / "a/ground_truth/000.png")
    message = refused(tmp_path / "a", "test", "scratch/000.bmp: no mask")
    assert "save it as " + str(tmp_path / "a/ground_truth/scratch/000_mask.png") in message
    write_ksdd2(tmp_path / "b")
    (tmp_path / "b/train/20001_GT.png").unlink()
    refused(tmp_path / "b", "train", r"20001.png: no mask for this image; .*20001_GT.png")


@pytest.mark.parametrize("decode_at_most", [5000, 0])
def test_mask_of_another_size(tmp_path, monkeypatch, decode_at_most):
    monkeypatch.setattr(checks, "DECODE_AT_MOST", decode_at_most)
    write_mvtec(tmp_path)
    write(tmp_path / "ground_truth/crack/000.png", 255, (48, 32))
    message = "crack/000.png: mask of 32 x 48 for an image of 48 x 32"
    refused(tmp_path, "test", message)


def test_truncated_pictures_are_found_before_training(tmp_path, monkeypatch):
    write_mvtec(tmp_path)
    for name in ("train/good/001.png", "ground_truth/crack/001_mask.png"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-30])
    refused(tmp_path, "train", r"001\.png: damaged or incomplete picture")
    refused(tmp_path, "test", r"001_mask\.png: damaged or incomplete picture")
    # Of very many pictures only the headers are read, which must be whole.
    monkeypatch.setattr(checks, "DECODE_AT_MOST", 2)
    assert len(open_source(str(tmp_path), "train", None)) == 3
    (tmp_path / "train/good/002.png").write_bytes(b"words")
    refused(tmp_path, "train", re.escape("002.png: not a picture"))


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "surface").mkdir()
    monkeypatch.setattr(type(epath.Path()), "is_dir", refuse)
    refused(tmp_path / "surface", "train", r"surface: cannot be read \(Permission denied\)")


def test_closed_folders_stop_only_what_reads_them(tmp_path, monkeypatch, caplog):
    write_mvtec(tmp_path)
    (tmp_path / "lost+found").mkdir()
    closed, scandir = set(), os.scandir

    def scan(path="."):
        if os.path.basename(path) in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr(logging.getLogger("vqad"), "propagate", True)
    closed.add("lost+found")
    assert len(open_source(str(tmp_path), "train", None)) == 3
    assert len(open_source(str(tmp_path), "test", None)) > 0
    assert "lost+found: cannot be read (Permission denied)" in caplog.text
    closed.add("crack")
    assert len(open_source(str(tmp_path), "train", None)) == 3
    refused(tmp_path, "test", r"crack: cannot be read \(Permission denied\); check it")
