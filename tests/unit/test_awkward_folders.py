"""Folders as people who inspect surfaces have them: what is read, and that the rest is said."""

import logging
import os
import shutil
import stat
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from broken_folders import make_ksdd2, write, write_mask, write_sound
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


def told(root, **how):
    """The findings of a folder: names of files by check."""
    by_check = {}
    for finding in examine(str(root), **how).findings:
        by_check.setdefault(finding.check, set()).add(os.path.relpath(finding.path, root))
    return by_check


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
