"""Broken folders, each with what `vqad doctor` says of it, and what training then does."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from vqad.cli import main
from vqad.data import checks
from vqad.data.builders import prepare
from vqad.data.doctor import examine, to_table
from vqad.data.sources import open_source
from vqad.errors import VqadError

RNG = np.random.default_rng(0)


def write(path, size=(40, 48), value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = RNG.integers(0, 256, size, np.uint8)
    Image.fromarray(noise if value is None else np.full(size, value, np.uint8)).save(path)


def write_mask(path, size=(40, 48), values=(255,)):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[8:16, 8 : 8 + len(values)] = values
    Image.fromarray(mask).save(path)


@pytest.fixture
def root(tmp_path):
    """A sound folder in MVTec layout with a labelled defect."""
    folder = tmp_path / "tiles"
    for name in ("train/good/0.png", "train/good/1.png", "train/dent/7.png"):
        write(folder / name)
    for name in ("test/good/0.png", "test/dent/0.png", "test/dent/1.png", "test/pit/0.png"):
        write(folder / name)
    for name in ("dent/0", "dent/1", "dent/7", "pit/0"):
        write_mask(folder / f"ground_truth/{name}_mask.png")
    return folder


def ksdd2(root):
    shutil.rmtree(root)
    for number, value in ((1, 0), (2, 0), (3, 255)):
        for split in ("train", "test"):
            write(root / split / f"{number}.png")
            write_mask(root / split / f"{number}_GT.png", values=(value,))


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def nest(folder):
    """Moves what is in a folder one level down."""
    inner = folder / "images"
    inner.mkdir()
    for path in list(folder.iterdir()):
        if path != inner:
            path.rename(inner / path.name)


def link_out(root):
    write(root.parent / "elsewhere.png")
    (root / "train/good/2.png").symlink_to(root.parent / "elsewhere.png")


def link_folder_out(root):
    write(root.parent / "elsewhere/0.png")
    (root / "test/spot").symlink_to(root.parent / "elsewhere")
    write_mask(root / "ground_truth/spot/0_mask.png")


def break_ksdd2(root):
    ksdd2(root)
    (root / "train/2_GT.png").unlink()


def truncate_ksdd2_mask(root):
    ksdd2(root)
    cut(root / "test/3_GT.png")


STOPPING = [
    ("truncated picture", lambda r: cut(r / "train/good/1.png"), "unreadable", "1.png: damaged or"),
    (
        "not a picture",
        lambda r: (r / "test/good/0.png").write_text("words"),
        "unreadable",
        "test/good/0.png: not a picture in a known format",
    ),
    (
        "truncated mask",
        lambda r: cut(r / "ground_truth/pit/0_mask.png"),
        "unreadable",
        "pit/0_mask.png: damaged or incomplete picture",
    ),
    (
        "empty file",
        lambda r: (r / "train/good/0.png").write_bytes(b""),
        "unreadable",
        "train/good/0.png: not a picture",
    ),
    (
        "mask missing",
        lambda r: (r / "ground_truth/dent/1_mask.png").unlink(),
        "mask-missing",
        "test/dent/1.png: no mask for this defective image; add ",
    ),
    (
        "mask called otherwise",
        lambda r: (r / "ground_truth/dent/1_mask.png").rename(r / "ground_truth/dent/1_gt.png"),
        "mask-missing",
        "1_gt.png to {root}/ground_truth/dent/1_mask.png",
    ),
    (
        "mask folder of a class misspelt",
        lambda r: (r / "ground_truth/dent").rename(r / "ground_truth/dents"),
        "mask-missing",
        "rename {root}/ground_truth/dents to {root}/ground_truth/dent",
    ),
    (
        "mask folder misspelt",
        lambda r: (r / "ground_truth").rename(r / "Ground-Truth"),
        "mask-missing",
        "rename {root}/Ground-Truth to {root}/ground_truth",
    ),
    (
        "masks one level too deep",
        lambda r: nest(r / "ground_truth/pit"),
        "mask-missing",
        "move the pictures of {root}/ground_truth/pit/images up into {root}/ground_truth/pit",
    ),
    (
        "good test images misspelt",
        lambda r: (r / "test/good").rename(r / "test/goood"),
        "mask-missing",
        "rename {root}/test/goood to {root}/test/good",
    ),
    (
        "mask of another size",
        lambda r: write_mask(r / "ground_truth/pit/0_mask.png", (48, 40)),
        "mask-size",
        "pit/0_mask.png: mask of 40 x 48 for an image of 48 x 40 (width x height)",
    ),
    (
        "empty mask of a labelled defect",
        lambda r: write_mask(r / "ground_truth/dent/7_mask.png", values=(0,)),
        "labelled-empty",
        "dent/7_mask.png: an empty mask, though its image counts as defective; draw",
    ),
    (
        "training and test picture of one name",
        lambda r: write(r / "train/dent/1.png"),
        "names-collide",
        "train/dent/1.png: {root}/test/dent/1.png has the same name",
    ),
    (
        "two pictures of one name and a mask",
        lambda r: write(r / "test/dent/1.bmp"),
        "names-collide",
        "test/dent/1.bmp: {root}/test/dent/1.png has the same name",
    ),
    ("link out of the folder", link_out, "outside", "train/good/2.png: a link that leads out of"),
    ("linked folder", link_folder_out, "outside", "test/spot: a link that leads out of {root}"),
    (
        "good pictures one level too deep",
        lambda r: nest(r / "train/good"),
        "layout",
        "move the pictures of {root}/train/good/images up into {root}/train/good",
    ),
    (
        "a class one level too deep",
        lambda r: nest(r / "test/pit"),
        "too-deep",
        "test/pit: no pictures in it; move the pictures of {root}/test/pit/images up",
    ),
    ("all one level too deep", nest, "layout", "one level deeper: give {root}/images; expected"),
    (
        "train misspelt",
        lambda r: (r / "train").rename(r / "Training"),
        "layout",
        "train: no such folder; rename {root}/Training to {root}/train",
    ),
    (
        "test misspelt",
        lambda r: (r / "test").rename(r / "tset"),
        "layout",
        "rename {root}/tset to {root}/test",
    ),
    ("no good training pictures", lambda r: shutil.rmtree(r / "train"), "layout", "nothing to tra"),
    ("no good test picture", lambda r: shutil.rmtree(r / "test/good"), "layout", "no good image"),
    ("nothing in it", lambda r: [shutil.rmtree(p) for p in r.iterdir()], "layout", "no pictures"),
    ("KSDD2 mask missing", break_ksdd2, "mask-missing", "2.png: no mask; add 2_GT.png beside it"),
    ("KSDD2 mask truncated", truncate_ksdd2_mask, "unreadable", "3_GT.png: damaged or incomplete"),
]


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


WARNING = [
    (
        "empty mask in test",
        lambda r: write_mask(r / "ground_truth/pit/0_mask.png", values=(0,)),
        "mask-empty",
        "pit/0_mask.png: an empty mask",
    ),
    (
        "mask of greys",
        lambda r: write_mask(r / "ground_truth/pit/0_mask.png", values=(3, 128, 255)),
        "mask-values",
        "pit/0_mask.png: has 3 values beside 0 (3 to 255); make it black and one other value",
    ),
    (
        "image in train and test",
        lambda r: shutil.copy(r / "train/good/1.png", r / "test/good/9.png"),
        "leak",
        "test/good/9.png: byte for byte the training image {root}/train/good/1.png",
    ),
    (
        "near-constant",
        lambda r: write(r / "train/good/2.png", value=80),
        "constant",
        "train/good/2.png: shows next to nothing",
    ),
    (
        "case",
        lambda r: write(r / "train/good/1.PNG"),
        "names-case",
        "train/good/1.PNG: 1.png has the same name but for its case",
    ),
    (
        "empty class",
        lambda r: (r / "test/scratch").mkdir(),
        "class-empty",
        "test/scratch: no pictures in it; remove it or fill it",
    ),
    ("no test split", lambda r: shutil.rmtree(r / "test"), "no-test", "test: no test split"),
    (
        "unused mask",
        lambda r: write_mask(r / "ground_truth/pit/8_mask.png"),
        "unused",
        "pit/8_mask.png: belongs to no image of this layout",
    ),
]


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
    assert (report.layout, report.findings, report.sound) == ("mvtec", (), True)
    assert report.classes == {
        ("train", "good"): 2,
        ("train", "dent"): 1,
        ("test", "good"): 1,
        ("test", "dent"): 2,
        ("test", "pit"): 1,
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
    header = {"split": "test", "height": 40, "width": 48, "mode": "L", "bits": 8, "images": 4}
    assert header in report["pictures"]


def test_a_tree_of_pictures_is_sound(tmp_path):
    write(tmp_path / "a/0.png")
    write(tmp_path / "b/train/1.jpg")
    report = examine(str(tmp_path))
    assert (report.layout, [f.check for f in report.findings]) == ("pictures", ["no-test"])


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (("Train/Good/0.png", "Test/Good/0.png"), "rename {root}/Train/Good to {root}/train/good"),
        (("train/ok/0.png",), "rename {root}/train/ok to {root}/train/good"),
        (("good/0.png", "bad/0.png"), "put the pictures of {root}/good into {root}/train/good"),
        (("0.png", "0_GT.png"), "put its pictures and masks into {root}/train and {root}/test"),
        (("Train/0.png", "Train/0_GT.png"), "rename {root}/Train to {root}/train"),
    ],
)
def test_what_is_meant_to_have_a_layout_is_no_tree_of_pictures(tmp_path, names, hint):
    for name in names:
        write(tmp_path / name)
    with pytest.raises(VqadError, match="layout not recognised") as error:
        open_source(str(tmp_path), "train", None)
    assert hint.format(root=tmp_path) in str(error.value)


def test_a_split_given_alone_is_only_a_part(root):
    with pytest.raises(VqadError, match=f"it is only a part: give {root}"):
        open_source(str(root / "train"), "train", None)


def test_a_prepared_set_is_examined_as_well(root, tmp_path, capsys):
    ksdd2(root)
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
