"""Folders as people who inspect surfaces have them: what is read, and that the rest is said."""

import logging
import os
import shutil
import stat
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from broken_folders import make_ksdd2, told, write, write_mask, write_sound
from PIL import Image

from vqad.cli import main
from vqad.data import checks, scan
from vqad.data.doctor import examine
from vqad.data.findings import tell_left_out
from vqad.data.folders import FolderSource
from vqad.data.sources import open_source
from vqad.errors import VqadError
from vqad.evaluation.predictions import evaluate_predictions
from vqad.prediction.inputs import gather


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "tiles"
    write_sound(folder)
    return folder


def names(source):
    return [source.names(i) for i in range(len(source))]


def spot(path, left):
    """A mask of one spot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((40, 48), np.uint8)
    mask[4:8, left : left + 4] = 255
    Image.fromarray(mask).save(path)


@pytest.mark.parametrize(
    "others",
    [
        ("0_mask.png", "0_mask_2.png"),
        ("0.png", "0_mask2.PNG"),
        ("0/0.png", "0/1.png"),
        ("0_mask (1).png", "0_mask (2).png"),
        ("0_1.png", "0-2.bmp"),
    ],
)
def test_all_masks_of_an_image_are_joined(root, others):
    shutil.rmtree(root / "ground_truth/pit")
    for left, name in zip((4, 20), others, strict=True):
        spot(root / "ground_truth/pit" / name, left)
    source = open_source(str(root), "test", None)
    mask = source[len(source) - 1]["mask"]
    assert (mask.sum(), mask[:, :12].sum()) == (32, 16)
    assert told(root) == {}


def test_a_mask_belongs_to_the_longest_name(root):
    write(root / "test/pit/0_1.png")
    spot(root / "ground_truth/pit/0_1.png", 20)
    masks = {r.name: r.masks for r in FolderSource(str(root), "test").entries if r.label == "pit"}
    assert masks == {
        "test/pit/0.png": ("ground_truth/pit/0_mask.png",),
        "test/pit/0_1.png": ("ground_truth/pit/0_1.png",),
    }


def test_labelled_defects_and_ksdd2_have_several_masks_too(root):
    spot(root / "ground_truth/dent/7_mask_2.png", 30)
    source = open_source(str(root), "train", None, labelled=True)
    assert source[len(source) - 1]["mask"].sum() == 16 + 8
    make_ksdd2(root)
    spot(root / "test/3_GT_2.png", 30)
    assert open_source(str(root), "test", None)[2]["mask"].sum() == 16 + 8


def test_a_jpeg_mask_is_read_without_its_greys(root):
    path = root / "ground_truth/pit/0_mask.png"
    with Image.open(path) as mask:
        mask.resize((48, 40)).save(path.with_suffix(".jpg"), quality=30)
    path.unlink()
    spot(path, 8)
    with Image.open(path) as mask:
        mask.save(path.with_suffix(".jpg"), quality=60)
    path.unlink()
    assert set(told(root)) == {"mask-jpeg"}
    source = open_source(str(root), "test", None)
    assert source[len(source) - 1]["mask"].sum() == 16


def test_names_are_compared_in_composed_form(root):
    for form, name in (("NFC", "test/pit/prüf.png"), ("NFD", "ground_truth/pit/prüf_mask.png")):
        write_mask(root / unicodedata.normalize(form, name))
    source = open_source(str(root), "test", None)
    assert "no-mask" not in told(root)
    assert source[len(source) - 1]["mask"].any()
    # Two that differ by their form alone are two.
    for form in ("NFC", "NFD"):
        write(root / "train/good" / unicodedata.normalize(form, "ä.png"))
    assert len(open_source(str(root), "train", None)) == 4


def test_folders_in_a_class_are_read(root):
    for name in ("train/good/2024-01-05/0.png", "train/good/2024-01-06/a/0.png"):
        write(root / name)
    write(root / "test/pit/left/0.png")
    write_mask(root / "ground_truth/pit/left/0_mask.png")
    train, test = (FolderSource(str(root), split) for split in ("train", "test"))
    assert len(train) == 4
    assert names(test)[-1] == "test/pit/left/0.png"
    assert told(root) == {}


@pytest.mark.parametrize("folder", ["NG", "masks", "defects", "Anomaly"])
def test_defects_below_good_parts_stop_training(root, folder):
    write(root / "train/good" / folder / "0.png")
    assert told(root) == {"class-odd": {f"train/good/{folder}"}}
    with pytest.raises(VqadError, match=f"{folder}: by its name, not for pictures of good"):
        open_source(str(root), "train", None)


def test_masks_beside_good_parts_are_no_good_parts(root):
    write(root / "train/good/0_mask.png")
    write(root / "train/good/1_GT.png")
    assert names(FolderSource(str(root), "train")) == ["train/good/0.png", "train/good/1.png"]
    assert told(root) == {"mask-beside": {"train/good/0_mask.png", "train/good/1_GT.png"}}


def test_defects_without_masks_are_judged_as_images_alone(root, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("vqad"), "propagate", True)
    shutil.rmtree(root / "ground_truth")
    source = open_source(str(root), "test", (32, 32))
    assert "no-mask: 3: " in caplog.text
    assert "judges the image, no pixel of it" in caplog.text
    assert [bool(source[i]["has_mask"]) for i in range(4)] == [True, False, False, False]
    train = open_source(str(root), "train", (32, 32), labelled=True)
    assert (len(train), train.num_labelled) == (2, 0)
    figures = evaluated(source)
    assert (figures.image_auroc, figures.pixel_auroc, figures.pixel_ap) == (1, None, None)


def evaluated(source):
    """Figures where every defect is found, and a map is high at the left."""

    def predict(image):
        mask = np.zeros((*image.shape[:3],), np.float32)
        mask[:, :, :16] = 0.75
        scores = np.array([0.25, 0.5, 0.5, 0.5], np.float32)
        return {"score": scores, "mask": mask, "general": image / 255, "specific": image / 255}

    examples = [source[i] for i in range(len(source))]
    batch = {key: np.stack([example[key] for example in examples]) for key in examples[0]}
    batch |= {"index": np.arange(4), "valid": np.ones(4, bool)}
    return evaluate_predictions(predict, [batch], source.classes, list("abcd"), k=1).overall


def test_no_pixel_of_a_defect_without_a_mask_counts(root):
    with_all = evaluated(open_source(str(root), "test", (32, 32)))
    (root / "ground_truth/pit/0_mask.png").unlink()
    (root / "ground_truth/dent/1_mask.png").unlink()
    figures = evaluated(open_source(str(root), "test", (32, 32)))
    assert figures.image_auroc == with_all.image_auroc == 1
    # Of two images 16 columns of 32 are high: the mask's 2 x 1 and half of the other pixels.
    marked = open_source(str(root), "test", (32, 32))[1]["mask"].sum()
    assert marked > 0
    assert figures.pixel_ap == pytest.approx(marked / (2 * 16 * 32), rel=0.02)


def test_defects_alone_in_the_test_train_without_a_judgement(root):
    shutil.rmtree(root / "test/good")
    report = examine(str(root))
    assert (report.sound, {f.check for f in report.findings}) == (True, {"no-test"})


def test_ksdd2_pictures_are_numbers_or_have_masks(root):
    make_ksdd2(root)
    for name in ("part a.png", "extra.png", "1_GT (copy).png"):
        write(root / "train" / name)
    write_mask(root / "train/part a_GT.png", values=(0,))
    assert names(FolderSource(str(root), "train")) == [
        f"train/{n}.png" for n in ("1", "2", "part a")
    ]
    assert told(root) == {"unused": {"train/extra.png", "train/1_GT (copy).png"}}


@pytest.mark.parametrize("labelled", [True, False])
def test_a_damaged_ksdd2_mask_of_very_many_is_no_defect(root, monkeypatch, labelled):
    monkeypatch.setattr(checks, "DECODE_AT_MOST", 1)
    make_ksdd2(root)
    path = root / "train/1_GT.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(VqadError, match=r"1_GT\.png: damaged or incomplete"):
        open_source(str(root), "train", None, labelled=labelled)


def test_what_is_not_looked_at_is_said(root, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("vqad"), "propagate", True)
    left = {
        "format": ("train/good/2.heic", "test/dent/3.GIF"),
        "unused": ("extra/0.png", "ground_truth/pit/8_mask.png"),
        "annotation": ("test/dent/0.json", "train/good/1.xml"),
        "mask-beside": ("test/good/0_mask.png",),
        "hidden": ("train/good/._0.png", "train/good/@eaDir/0.png/thumb.jpg", ".trash/0.png"),
    }
    for files in left.values():
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"")
    for name in ("Thumbs.db", "train/.DS_Store", "readme.txt"):
        (root / name).write_bytes(b"")
    (root / "train/good/more").symlink_to(root / "test/good")
    assert told(root) == {**{k: set(v) for k, v in left.items()}, "link": {"train/good/more"}}
    known = set()
    assert len(open_source(str(root), "train", (32, 32), told=known)) == 2
    once = [line for line in caplog.messages if line.startswith("warning: ")]
    once = sorted(line.split(":")[1].strip() for line in once)
    assert once == sorted([*left, "link", "no-share"])
    assert "format: 2: " in caplog.text
    caplog.clear()
    open_source(str(root), "test", (32, 32), told=known)
    assert "format" not in caplog.text


def test_prediction_says_what_it_did_not_look_at(tmp_path):
    for name in ("a.png", "b_GT.png", "c_mask.png", "c.JPG", "sub/d.png", "._e.png"):
        write(tmp_path / "line" / name)
    (tmp_path / "line/f.gif").write_bytes(b"")
    write(tmp_path / "elsewhere/g.png")
    (tmp_path / "line/link").symlink_to(tmp_path / "elsewhere")

    def looked(*given, **how):
        left = []
        found = gather([str(each) for each in given], left=left, **how)
        return [one.name.name for one in found], {Path(each.path).name: each.check for each in left}

    line = tmp_path / "line"
    found, left = looked(line)
    assert found == ["a", "c", "d"]
    assert left == {
        "b_GT.png": "mask-beside",
        "c_mask.png": "mask-beside",
        "._e.png": "hidden",
        "f.gif": "format",
        "link": "link",
    }
    found, left = looked(line, follow_links=True)
    assert found == ["a", "c", "g", "d"]
    assert "link" not in left
    assert looked(f"{line}/[as]*") == (["a"], {"sub": "folder"})
    assert looked(line / "b_GT.png") == (["b_GT"], {})


def test_what_nobody_expects_to_be_read_changes_no_exit_code(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("vqad"), "propagate", True)
    for name in ("a.png", "._a.png", "@eaDir/a.png/thumb.jpg", "ground_truth/a_mask.png"):
        write(tmp_path / name)
    left = []
    assert len(gather([str(tmp_path)], left=left)) == 1
    assert not tell_left_out(left)
    assert "hidden: 2: " in caplog.text
    assert "mask: 1: " in caplog.text
    for number in range(9):
        (tmp_path / f"{number}.heic").touch()
    gather([str(tmp_path)], left=left)
    assert tell_left_out(left)
    assert "format: 9: " in caplog.text
    assert "(also 1.heic, 2.heic, 3.heic, 4.heic, 5.heic and 3 more)" in caplog.text
    (tmp_path / "a.png").unlink()
    with pytest.raises(VqadError, match=r"no picture there; .*format: 9: .*mask: 1: "):
        gather([str(tmp_path)])


def test_a_picture_without_a_suffix_is_told_of(root):
    (root / "train/good/0.png").rename(root / "train/good/IMG_0001")
    (root / "README").write_text("no picture")
    os.mkfifo(root / "pipe")
    assert told(root) == {"no-suffix": {"train/good/IMG_0001"}}


def test_links_are_followed_where_that_is_asked_for(root, tmp_path):
    for name in ("train", "test"):
        shutil.move(root / name, tmp_path / f"{name}_elsewhere")
        (root / name).symlink_to(tmp_path / f"{name}_elsewhere")
    with pytest.raises(VqadError, match="--follow-links"):
        open_source(str(root), "train", None)
    assert main(["doctor", str(root)]) == 1
    assert main(["doctor", "--follow-links", str(root)]) == 0
    assert len(open_source(str(root), "test", None, follow_links=True)) == 4


def test_a_linked_split_is_not_called_empty(root):
    (root / "train").rename(root / "data")
    (root / "train").symlink_to(root / "data")
    with pytest.raises(VqadError, match="--follow-links reads"):
        open_source(str(root), "train", None)
    assert "put some there" not in str(examine(str(root)).findings)
    assert examine(str(root), follow_links=True).sound


def test_links_that_lead_in_circles_end(root, tmp_path):
    (root / "train/good/up").symlink_to(root / "train")
    for number in range(3):
        (root / f"test/good/{number}").symlink_to(tmp_path / "other")
    write(tmp_path / "other/0.png")
    (tmp_path / "other/again").symlink_to(tmp_path / "other")
    found = told(root, follow_links=True)
    assert found["link-again"] == {
        "train/good/up",
        "test/good/0/again",
        "test/good/1",
        "test/good/2",
    }
    assert len(FolderSource(str(root), "test", follow_links=True)) == 5


def test_a_junction_is_a_link(root, monkeypatch):
    lstat = os.lstat

    class Junction:
        st_reparse_tag, st_mode = 0xA0000003, stat.S_IFDIR

    def of(path):
        return Junction if str(path).endswith("test/good") else lstat(path)

    monkeypatch.setattr("os.lstat", of)
    found = scan.scan(root)
    assert [finding.check for finding in found.findings] == ["link"]
    assert "test/good/0.png" not in found.names


@pytest.mark.parametrize("name", ["with space", "100%", "a:b", "#1", "[x]", "new\nline", "'q'"])
def test_odd_names_are_names(tmp_path, name):
    write_sound(tmp_path / name)
    write(tmp_path / name / f"test/pit/{name}.png")
    write_mask(tmp_path / name / f"ground_truth/pit/{name}_mask.png")
    assert told(tmp_path / name) == {}
    source = open_source(str(tmp_path / name), "test", (32, 32))
    assert source[names(source).index(f"test/pit/{name}.png")]["mask"].any()


def test_paths_that_are_too_long_are_named(root):
    name, folders = 25 * "a", [os.open(root / "train/good", os.O_RDONLY)]
    for _ in range(200):
        os.mkdir(name, dir_fd=folders[-1])
        folders.append(os.open(name, os.O_RDONLY, dir_fd=folders[-1]))
    try:
        with pytest.raises(VqadError, match=r"a: cannot be read \(File name too long\)"):
            open_source(str(root), "train", None)
    finally:  # pytest's own tidying gives up here
        os.close(folders.pop())
        for folder in reversed(folders):
            os.rmdir(name, dir_fd=folder)
            os.close(folder)


def test_defects_to_train_with_that_no_share_is_for_are_told(root):
    (finding,) = FolderSource(str(root), "train").findings
    assert (finding.check, finding.path) == ("no-share", str(root / "train/dent/7.png"))


def test_a_read_only_folder_is_read(root):
    for path in [*root.rglob("*"), root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert told(root) == {}
    finally:
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755)


def test_the_same_picture_in_two_formats_is_read_twice(root):
    with Image.open(root / "train/good/0.png") as picture:
        picture.save(root / "train/good/0.jpg")
    assert len(open_source(str(root), "train", None)) == 3
