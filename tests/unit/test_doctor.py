"""What `vqad doctor` says of folders and prepared sets, and what training then does."""

import json
import os
import shutil

import pytest
from broken_folders import STOPPING, WARNING, cut, make_ksdd2, write, write_sound

from vqad.cli import main
from vqad.data import checks
from vqad.data.builders import prepare
from vqad.data.doctor import examine, to_table
from vqad.data.sources import open_source
from vqad.errors import VqadError


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "tiles"
    write_sound(folder)
    return folder


@pytest.mark.parametrize(
    ("breaking", "check", "message"),
    [case[1:] for case in STOPPING],
    ids=[case[0].replace(" ", "-") for case in STOPPING],
)
def test_a_broken_folder_stops_training(root, capsys, breaking, check, message):
    breaking(root)
    wanted = message.format(root=root)
    assert main(["doctor", str(root)]) == 1
    out = capsys.readouterr().out
    assert wanted in out
    assert out.endswith("training does not start\n")
    found = [f for f in examine(str(root)).findings if f.stops]
    assert {f.check for f in found} == {check}
    assert wanted in found[0].message
    # Training refuses it with the same words.
    with pytest.raises(VqadError) as error:
        for split in ("train", "test"):
            open_source(str(root), split, (32, 32), labelled=True)
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("breaking", "check", "message"),
    [case[1:] for case in WARNING],
    ids=[case[0].replace(" ", "-") for case in WARNING],
)
def test_what_does_not_stop_training_is_told(root, capsys, breaking, check, message):
    breaking(root)
    assert main(["doctor", str(root)]) == 0
    out = capsys.readouterr().out
    assert message.format(root=root) in out
    assert out.endswith("training starts\n")
    assert check in {f.check for f in examine(str(root)).findings}


def test_a_sound_folder_has_no_findings(root, capsys):
    report = examine(str(root))
    assert (report.layout, report.findings, report.sound) == ("mvtec", [], True)
    assert report.classes == {
        "train": {"good": 2, "dent": 1},
        "test": {"good": 1, "dent": 2, "pit": 1},
    }
    write(root / "train/good/2.png", (50, 60))
    table = to_table(examine(str(root)))
    assert "L, 8 bits a channel, 48 x 40 to 60 x 50 (width x height)" in table


def test_the_json_holds_every_finding(root, capsys):
    for name in ("0.png", "1.png"):
        cut(root / "train/good" / name)
    assert main(["doctor", "--json", str(root)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["source"], report["sound"], report["layout"]) == (str(root), False, "mvtec")
    assert report["classes"]["test"] == {"good": 1, "dent": 2, "pit": 1}
    assert [f["path"] for f in report["findings"]] == [
        str(root / "train/good/0.png"),
        str(root / "train/good/1.png"),
    ]
    assert report["findings"][0]["stops"]
    assert report["findings"][0]["training"] == "does not start"
    header = {"split": "test", "height": 40, "width": 48, "mode": "L", "bits": 8}
    header |= {"orientation": 1, "images": 4}
    assert header in report["pictures"]


def test_a_tree_of_pictures_is_sound(tmp_path):
    write(tmp_path / "a/b/0.png")
    write(tmp_path / "a/b/1.jpg")
    report = examine(str(tmp_path))
    assert (report.layout, [f.check for f in report.findings]) == ("pictures", ["no-test"])


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (("Train/Good/0.png", "Test/Good/0.png"), "rename {root}/Test to {root}/test"),
        (("train/ok/0.png",), "rename {root}/train/ok to {root}/train/good"),
        (("good/0.png", "bad/0.png"), "`vqad doctor {root} --fix OUT` writes"),
        (("0.png", "0_GT.png"), "{root}/0_GT.png is called as a mask"),
        (("Train/0.png", "Train/0_GT.png"), "rename {root}/Train to {root}/train"),
    ],
)
def test_what_is_meant_to_have_a_layout_is_no_tree_of_pictures(tmp_path, names, hint):
    for name in names:
        write(tmp_path / name)
    with pytest.raises(VqadError, match="layout not recognised") as error:
        open_source(str(tmp_path), "train", None)
    assert hint.format(root=tmp_path) in str(error.value)


@pytest.mark.parametrize(
    "names",
    [
        ("mask/0.png", "cat/0.png"),
        ("normal/0.png", "texture/0.png"),
        ("train/NORMAL/0.png", "train/PNEUMONIA/0.png"),
        ("tiles/train/good/0.png", "photographs/0.png"),
    ],
)
def test_photographs_may_be_any_tree(tmp_path, capsys, names):
    for name in names:
        write(tmp_path / name)
    assert len(open_source(str(tmp_path), "train", None, tree=True)) == 2
    assert main(["doctor", "--pictures", str(tmp_path)]) == 0
    assert "no test split" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [("brain/normal/0.png",), ("grain/ok/0.png",), ("0.png", "bottle_neck.png")]
)
def test_names_that_mean_something_else_are_no_slip(tmp_path, names):
    for name in names:
        write(tmp_path / name)
    assert open_source(str(tmp_path), "train", None).classes == ("good",)


def test_files_that_may_not_be_read_are_findings(root, monkeypatch):
    def refuse(path, formats=None):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("vqad.data.checks.size_and_time", refuse)
    monkeypatch.setattr("vqad.data.decode.Image.open", refuse)
    found = examine(str(root)).findings
    assert {finding.check for finding in found} == {"unreadable"}
    assert "Permission denied" in found[0].message


def test_names_of_files_cannot_break_the_table(root, capsys):
    path = root / "train/good/line\nbreak\x1b.png"
    (root / "train/good/0.png").rename(path)
    cut(path)
    assert main(["doctor", str(root)]) == 1
    assert r"line\nbreak\x1b.png: damaged" in capsys.readouterr().out
    with pytest.raises(VqadError) as error:
        open_source(str(root), "train", None)
    assert "\n" not in str(error.value)


def test_a_split_given_alone_is_only_a_part(root):
    with pytest.raises(VqadError, match="a split alone; give the folder above"):
        open_source(str(root / "train"), "train", None)


def test_a_prepared_set_is_examined_as_well(root, tmp_path, capsys):
    make_ksdd2(root)
    shutil.copy(root / "train/1.png", root / "test/1.png")
    for path in list(root.glob("*/*")):
        path.rename(path.with_name(f"2000{path.name}"))
    where = ["--data_dir", str(tmp_path / "tfds")]
    assert main(["doctor", "tfds:ksdd2/unsupervised", *where]) == 1
    assert "not prepared" in capsys.readouterr().out
    prepare("ksdd2", "unsupervised", root, tmp_path / "tfds", allow_partial=True)
    assert main(["doctor", "tfds:ksdd2/unsupervised", *where]) == 1
    assert "from a part only" in capsys.readouterr().out
    assert main(["doctor", "tfds:ksdd2/unsupervised", "--allow_partial", *where]) == 0
    out = capsys.readouterr().out
    assert "prepared by TFDS" in out
    assert "test[0]: byte for byte the training image tfds:ksdd2/unsupervised: train[0]" in out


def test_quick_reads_headers_of_very_many(root, monkeypatch, capsys):
    monkeypatch.setattr(checks, "DECODE_AT_MOST", 1)
    cut(root / "train/good/1.png")
    assert main(["doctor", str(root)]) == 1
    assert main(["doctor", "--quick", str(root)]) == 0
    (root / "train/good/1.png").write_bytes(b"words")
    assert main(["doctor", "--quick", str(root)]) == 1


def test_training_is_told_how_many_more(root, caplog):
    for name in ("0.png", "1.png"):
        cut(root / "train/good" / name)
    with pytest.raises(VqadError, match=rf"and 1 more: `vqad doctor {root}` lists them"):
        open_source(str(root), "train", None)


def test_links_inside_the_folder_are_fine(root):
    os.symlink(root / "train/good/0.png", root / "train/good/5.png")
    assert examine(str(root)).sound
