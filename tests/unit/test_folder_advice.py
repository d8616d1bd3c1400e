"""Folders that training must not guess about: what is refused and advised; the doctor's copy."""

import os

import numpy as np
import pytest
import tifffile
from broken_folders import told, write, write_mask, write_sound

from vqad.cli import main
from vqad.data.doctor import examine
from vqad.data.sources import open_source
from vqad.errors import VqadError


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "tiles"
    write_sound(folder)
    return folder


CLASS_FOLDERS = {
    "zero and one": (("0/a.png", "0/b.png", "1/a.png"), "1 as defective parts"),
    "OK and NG": (("OK_parts/a.png", "NG_parts/a.png"), "OK_parts as good parts"),
    "kinds of defects": (("good/a.png", "scratch/a.png", "dent/a.png"), "dent as dent parts"),
    "masks": (("good/a.png", "bad/a.png", "masks/a.png"), "masks as masks of bad"),
    "label": (("images/a.png", "label/a.png"), "a folder called label is not"),
    "one of defects": (("defect/a.png",), "a folder called defect is not"),
    "anomaly": (("parts/anomaly/a.png", "parts/a.png"), "a folder called anomaly is not"),
    "dates": (
        ("2024-01-05/a.png", "2024-01-06/a.png"),
        r"several folders of pictures \(2024-01-05",
    ),
    "splits without classes": (("train/a.png", "test/a.png"), "which pictures show good parts"),
    "zero and one in splits": (
        ("train/0/a.png", "test/0/b.png", "test/1/a.png"),
        "rename .*train/0",
    ),
    "names of files": (("ok_001.png", "NG_002.png"), "NG_002.png is called defective"),
    "masks of files": (("a.png", "a_mask.png"), "a_mask.png is called as a mask"),
    "masks beside pictures": (
        ("0.jpg", "0.png", "1.jpg", "1.png"),
        "0.jpg and .*0.png are of one name",
    ),
    "VisA": (
        ("candle/Data/Images/Normal/0.JPG", "candle/Data/Images/Anomaly/0.JPG"),
        "prepare visa/",
    ),
    "KolektorSDD": (("kos01/Part0.jpg", "kos01/Part0_label.bmp"), "vqad prepare kolektor_sdd"),
    "magnetic tiles": (("MT_Free/Imgs/exp1_num_1.jpg",), "vqad prepare magnetic_tile"),
    "several surfaces": (("a/train/good/0.png", "b/train/good/0.png"), "give one of .*a or .*b"),
}


@pytest.mark.parametrize("kind", CLASS_FOLDERS)
def test_several_classes_are_never_taken_for_good_parts(tmp_path, kind):
    files, hint = CLASS_FOLDERS[kind]
    for name in files:
        write(tmp_path / "set" / name)
    with pytest.raises(VqadError, match=f"layout not recognised; .*{hint}"):
        open_source(str(tmp_path / "set"), "train", None)
    assert not examine(str(tmp_path / "set")).sound


@pytest.mark.parametrize("name", ["NG", "defects", "masks", "1"])
def test_a_folder_of_defects_itself_is_not_taken_either(tmp_path, name):
    write(tmp_path / "set" / name / "0.png")
    for given in (tmp_path / "set", tmp_path / "set" / name):
        with pytest.raises(VqadError, match=f"a folder called {name} is not"):
            open_source(str(given), "train", None)


def test_hints_name_all_renames_or_none(tmp_path):
    for name in ("Train/OK/0.png", "Test/ok/0.png", "Test/dent/0.png", "masks/dent/0_mask.png"):
        write(tmp_path / name)
    with pytest.raises(VqadError) as error:
        open_source(str(tmp_path), "train", None)
    steps = [
        (tmp_path / old, tmp_path / new)
        for old, new in (
            ("Test", "test"),
            ("Train", "train"),
            ("masks", "ground_truth"),
            ("test/ok", "test/good"),
            ("train/OK", "train/good"),
        )
    ]
    for old, new in steps:
        assert f"rename {old} to {new}" in str(error.value)
        old.rename(new)  # in the order of the hint
    assert examine(str(tmp_path)).sound


def test_a_hint_overwrites_nothing(root):
    write(root / "test/OK/0.png")  # test/good/0.png is there
    with pytest.raises(VqadError) as error:
        open_source(str(root), "test", None)
    assert "rename" not in str(error.value)
    assert "--fix OUT" in str(error.value)


def test_advice_to_move_and_rename_overwrites_nothing(root):
    for name in ("train/good/bad/0.png", "test/bad/0.png"):
        write(root / name)
    (root / "train/good/0.png").rename(root / "train/good/2")
    write(root / "train/good/2.png")
    said = {each.check: each.message for each in examine(str(root)).findings}
    assert "test/bad, where files of the same name need another first" in said["class-odd"]
    assert "call it .png, under another name" in said["no-suffix"]


def test_the_doctor_writes_a_sound_copy(tmp_path, capsys):
    source, out = tmp_path / "set", tmp_path / "out"
    for number in range(6):
        write(source / f"OK_parts/day {number % 2}/{number:03}.png")
    write(source / "scratch/000.png")
    write_mask(source / "masks/scratch/000.png")
    write(source / "scratch/001.webp.png")
    (source / "scratch/002.png").write_text("words")
    before = sorted(source.rglob("*"))
    assert main(["doctor", str(source), "--fix", str(out)]) == 0
    assert "002.png: not a picture" in capsys.readouterr().out
    assert {str(path.relative_to(out)) for path in out.rglob("*.png")} == {
        "train/good/day 0/000.png",
        "test/good/day 0/002.png",
        "train/good/day 0/004.png",
        "train/good/day 1/001.png",
        "train/good/day 1/003.png",
        "train/good/day 1/005.png",
        "test/scratch/000.png",
        "test/scratch/001.webp.png",
        "ground_truth/scratch/000_mask.png",
    }
    assert sorted(source.rglob("*")) == before
    assert os.stat(out / "test/scratch/000.png").st_nlink == 2
    assert examine(str(out)).classes["test"]["good"] == 1
    assert main(["doctor", str(source), "--fix", str(out)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert main(["doctor", str(source), "--fix", str(source / "out")]) == 2


def test_a_copy_tells_what_it_lacks(root, tmp_path, capsys):
    write(root / "train/dent/9.png")  # a defect to train with, which needs a mask
    (root / "train/good/8.heic").write_bytes(b"x")
    write(tmp_path / "private.png")
    (root / "train/good/private.png").symlink_to(tmp_path / "private.png")
    assert main(["doctor", str(root), "--fix", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert f"{root}/train/dent/9.png: no place for it" in told
    assert "8.heic: not in a format" in told
    assert not (tmp_path / "out/train/good/private.png").exists()
    assert "private.png: a link that leads out" in told
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/train").symlink_to(root / "train")
    assert main(["doctor", str(tmp_path / "linked"), "--fix", str(tmp_path / "new")]) == 2
    assert "--follow-links" in capsys.readouterr().err


def test_a_copy_has_what_a_value_range_and_masks_of_more_bits_make_readable(root, tmp_path):
    for name in ("train/good/float.tif", "ground_truth/dent/0_mask_2.tif"):
        kind = np.float32 if "train" in name else np.int32
        tifffile.imwrite(root / name, np.arange(1920).reshape(40, 48).astype(kind))
    out = tmp_path / "out"
    assert main(["doctor", str(root), f"--fix={out}", "--value-range=0,4095"]) == 0
    assert (out / "train/good/float.tif").exists()
    assert (out / "ground_truth/dent/0_mask_2.tif").exists()


def test_a_copy_where_there_are_no_links_and_of_a_known_layout(root, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    write(root / "test/dent/notes.gif.png")
    assert main(["doctor", str(root), "--fix", str(tmp_path / "out")]) == 0
    assert told(tmp_path / "out") == told(root)
    write(tmp_path / "odd/a/0.png")
    write(tmp_path / "odd/b/0.png")
    assert main(["doctor", str(tmp_path / "odd"), "--fix", str(tmp_path / "new")]) == 2
