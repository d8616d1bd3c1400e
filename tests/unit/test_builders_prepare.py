import argparse
import io
import pickle
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from raw_data import (
    SIZE,
    write_16_bit_colours,
    write_ksdd2,
    write_mask,
    write_picture,
    write_pictures,
)

from vqad.commands import prepare as prepare_command
from vqad.data.builders import BUILDERS, Ksdd2, prepare
from vqad.data.builders.ksdd2 import TEST_IDS, TRAIN_IDS, labelled_ids
from vqad.data.decode import decode_image
from vqad.data.sources import open_source
from vqad.errors import VqadError


def ids(builder, split):
    return [example["id"].decode() for example in builder.as_data_source(split)]


def refused(tmp_path, *args, **options):
    """The message of a preparation that fails and leaves nothing prepared."""
    with pytest.raises(VqadError) as error:
        prepare(*args, data_dir=tmp_path / "tfds", **options)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "tfds").rglob("*array_record*"))
    assert not list((tmp_path / "tfds").rglob("incomplete*"))
    return str(error.value)


@pytest.fixture(scope="module")
def whole_ksdd2(tmp_path_factory):
    """A zip with all names of KolektorSDD2 and tiny pictures, as published in a folder of it."""
    path = tmp_path_factory.mktemp("whole") / "KolektorSDD2.zip"
    image, black, white = (io.BytesIO() for _ in range(3))
    Image.new("RGB", (4, 6), (90, 80, 70)).save(image, "PNG")
    Image.new("L", (4, 6)).save(black, "PNG")
    Image.new("L", (4, 6), 255).save(white, "PNG")
    defective = labelled_ids()[246] | set(TEST_IDS[:110])
    with zipfile.ZipFile(path, "w") as archive:
        for split, numbers in (("train", TRAIN_IDS), ("test", TEST_IDS)):
            for number in numbers:
                mask = white if number in defective else black
                archive.writestr(f"{split}/{number}.png", image.getvalue())
                archive.writestr(f"{split}/{number}_GT.png", mask.getvalue())
    return path


@pytest.mark.parametrize(("config", "train"), [("unsupervised", 2085), ("supervised_53", 2138)])
def test_whole_ksdd2_is_accepted(config, train, whole_ksdd2, tmp_path):
    builder = prepare("ksdd2", config, whole_ksdd2, tmp_path)
    assert builder.info.splits["train"].num_examples == train
    assert builder.info.splits["test"].num_examples == 1004
    assert builder.info.metadata == {"source": str(whole_ksdd2), "difference": ""}
    spec = f"tfds:ksdd2/{config}"
    evaluated = open_source(spec, "test", None, data_dir=str(tmp_path))
    assert sum(int(evaluated[i]["label"]) for i in range(1004)) == 110
    assert len(open_source(spec, "train", None, data_dir=str(tmp_path))) == 2085


def test_differing_ksdd2_is_refused_with_the_difference(whole_ksdd2, tmp_path):
    path = tmp_path / "ksdd2.zip"
    labelled = min(labelled_ids()[16])
    with zipfile.ZipFile(whole_ksdd2) as whole, zipfile.ZipFile(path, "w") as part:
        for name in whole.namelist():
            number = int(re.sub(r"\D", "", name))
            if number == 20500:
                continue
            data = whole.read(name)
            if name == f"train/{labelled}_GT.png":
                data = whole.read("train/10000_GT.png")
            elif name == "train/10000_GT.png":
                data = whole.read(f"train/{labelled}_GT.png")
            part.writestr(name.replace("20501", "20500"), data)
            if number == 10000:
                part.writestr(name.replace("10000", "9999"), whole.read("train/10001_GT.png"))
    message = refused(tmp_path, "ksdd2", "unsupervised", path)
    assert message.startswith(
        f"{path}: not the whole of ksdd2: 2086 train good instead of 2085, 893 test good instead "
        "of 894; missing: test/20501.png (1); not of KolektorSDD2: train/9999.png (1); "
        f"with the mask of another: train/10000.png, train/{labelled}.png (2); complete it, or"
    )


def test_labelled_sets_are_nested():
    sets = labelled_ids()
    assert {number: len(found) for number, found in sets.items()} == {n: n for n in sets}
    assert list(sets) == [16, 53, 126, 246]
    assert sets[16] < sets[53] < sets[126] < sets[246] < set(TRAIN_IDS)


def test_partial_data_needs_leave_every_time(tmp_path, caplog):
    write_ksdd2(tmp_path / "raw")
    caplog.set_level("INFO", "vqad")
    message = refused(tmp_path, "ksdd2", "supervised_16", tmp_path / "raw")
    assert "2 train good instead of 2085, 4 train defective instead of 246" in message
    folder = tmp_path / "tfds"
    builder = prepare("ksdd2", "supervised_16", tmp_path / "raw", folder, allow_partial=True)
    assert ids(builder, "train") == ["train/10000.png", "train/10001.png", "train/10258.png"]
    assert ids(builder, "test") == ["test/20000.png", "test/20003.png"]
    name = "ksdd2/supervised_16/1.0.0"
    assert f"preparing {name} from {tmp_path / 'raw'} in {folder / name}" in caplog.text
    assert f"{name} is not whole: 2 train good instead of 2085" in caplog.text
    assert f"prepared {name}: 3 train, 2 test images in" in caplog.text

    for raw in (tmp_path / "raw", None):
        caplog.clear()
        prepare("ksdd2", "supervised_16", raw, folder, allow_partial=True)
        assert f"{name} is not whole: 2 train good instead of 2085" in caplog.text
        assert f"{name} is prepared in {folder / name}" in caplog.text
    allow = r"delete that folder, or allow partial data \(--config.allow_partial=True in training"
    with pytest.raises(VqadError, match=rf"from a part only: 2 train good .*; {allow}"):
        prepare("ksdd2", "supervised_16", tmp_path / "raw", folder)
    with pytest.raises(VqadError, match=rf"already, but from {tmp_path / 'raw'}; delete"):
        prepare("ksdd2", "supervised_16", tmp_path / "other", folder, allow_partial=True)


def test_ksdd2_is_read_back_as_it_was(tmp_path):
    write_ksdd2(tmp_path / "raw" / "KolektorSDD2")
    builder = prepare("ksdd2", None, tmp_path / "raw", tmp_path / "tfds", allow_partial=True)
    assert builder.info.full_name == "ksdd2/unsupervised/1.0.0"
    example = builder.as_data_source("test")[1]
    expected = decode_image(tmp_path / "raw/KolektorSDD2/test/20003.png")
    np.testing.assert_array_equal(example["image"], expected)
    assert example["mask"].shape == (*SIZE, 1)
    assert set(np.unique(example["mask"])) == {0, 255}
    assert (example["mask"] > 0).sum() == 18
    assert (example["label"], example["id"]) == (1, b"test/20003.png")

    data_dir = str(tmp_path / "tfds")
    where = {"data_dir": data_dir, "allow_partial": True}
    source = open_source("tfds:ksdd2/unsupervised", "test", None, **where)
    np.testing.assert_array_equal(source[1]["image"], expected)
    assert [int(source[i]["label"]) for i in (0, 1)] == [0, 1]
    assert (source[0]["mask"].sum(), source[1]["mask"].sum()) == (0, 18)
    assert len(open_source("tfds:ksdd2/unsupervised", "train", SIZE, **where)) == 2


def test_bytes_are_kept_where_every_decoder_reads_them_alike(tmp_path):
    write_pictures(tmp_path / "raw")
    raw = tmp_path / "raw"
    turned = Image.Exif()
    turned[0x0112] = 6
    write_picture(raw / "turned.jpg", exif=turned)
    write_picture(raw / "palette.png", "P")
    write_picture(raw / "alpha.png", "RGBA")
    write_picture(raw / "see-through.png", transparency=(1, 2, 3))
    Image.fromarray(np.full(SIZE, 40000, np.uint16)).save(raw / "deep.png")
    write_16_bit_colours(raw / "deep-colours.png")
    (raw / "notes.txt").write_text("no picture")
    builder = prepare("natural_images", raw=raw, data_dir=tmp_path / "tfds")
    skip = {"image": tfds.decode.SkipDecoding()}
    encoded = builder.as_data_source("train", decoders=skip)
    kept = set()
    for example, stored in zip(builder.as_data_source("train"), encoded, strict=True):
        path = raw / example["id"].decode()
        wanted = decode_image(path)
        assert example["image"].shape == wanted.shape
        # Decoders of JPEG differ by a little.
        assert np.abs(example["image"].astype(int) - wanted).max() <= 3 * (path.suffix == ".jpg")
        if stored["image"] == path.read_bytes():
            kept.add(path.name)
    assert len(encoded) == 10
    assert kept == {"plain.jpg", "colour.png"}


def test_other_pictures_do_not_pass_for_prepared_ones(tmp_path):
    write_pictures(tmp_path / "one")
    write_pictures(tmp_path / "one too")
    prepare("natural_images", raw=tmp_path / "one", data_dir=tmp_path / "tfds")
    prepare("natural_images", raw=tmp_path / "one", data_dir=tmp_path / "tfds")
    with pytest.raises(VqadError, match=r"already, but from .*one; delete that folder or give ano"):
        prepare("natural_images", raw=tmp_path / "one too", data_dir=tmp_path / "tfds")


def test_bad_pictures_and_masks_are_named(tmp_path):
    def message():
        return refused(tmp_path, "ksdd2", raw=tmp_path / "raw", allow_partial=True)

    write_ksdd2(tmp_path / "raw")
    mask, picture = (tmp_path / "raw/test" / name for name in ("20003_GT.png", "20003.png"))
    write_mask(mask, size=(5, 9))
    assert f"{mask}: mask of 9 x 5 for an image of 16 x 12 (width x height)" in message()
    mask.write_bytes(b"")
    assert f"{mask}: not a picture" in message()
    mask.unlink()
    assert message() == f"{picture}: no mask for it; add test/20003_GT.png"
    write_mask(mask)
    picture.write_bytes(picture.read_bytes()[:-60])
    assert f"{picture}: damaged or incomplete picture" in message()
    shutil.make_archive(str(tmp_path / "KSDD2"), "zip", tmp_path / "raw")
    shutil.rmtree(tmp_path / "raw")
    shutil.move(tmp_path / "KSDD2.zip", tmp_path / "raw")
    assert f"{tmp_path / 'raw'}:test/20003.png: damaged or incomplete picture" in message()


@pytest.mark.parametrize("end", ["raise KeyboardInterrupt", "os.kill(os.getpid(), 9)"])
def test_interrupted_preparation_leaves_nothing_prepared(end, tmp_path):
    write_ksdd2(tmp_path / "raw")
    code = (
        "import os, sys\n"
        "from vqad.data.builders import Ksdd2, prepare\n"
        "whole = Ksdd2.example\n"
        "def example(self, files, record):\n"
        f"    if record.split == 'test': {end}\n"
        "    return whole(self, files, record)\n"
        "Ksdd2.example = example\n"
        "prepare('ksdd2', None, sys.argv[1], sys.argv[2], allow_partial=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "raw"), str(tmp_path / "tfds")]
    assert subprocess.run(command, capture_output=True).returncode in (-2, -9)
    assert not Ksdd2(data_dir=tmp_path / "tfds").is_prepared()
    with pytest.raises(VqadError, match="not prepared in"):
        open_source("tfds:ksdd2/unsupervised", "test", None, data_dir=str(tmp_path / "tfds"))
    builder = prepare("ksdd2", None, tmp_path / "raw", tmp_path / "tfds", allow_partial=True)
    assert builder.info.splits.total_num_examples == 4


def test_unwritable_folder_is_one_line(tmp_path):
    write_ksdd2(tmp_path / "raw")
    (tmp_path / "tfds").write_text("a file")
    with pytest.raises(VqadError, match=r"unsupervised/1\.0\.0: cannot be written to .*tfds"):
        prepare("ksdd2", None, tmp_path / "raw", tmp_path / "tfds", allow_partial=True)
    (tmp_path / "other/ksdd2/unsupervised/1.0.0").mkdir(parents=True)
    with pytest.raises(VqadError, match="the folder is there, but no data set in it"):
        prepare("ksdd2", None, tmp_path / "raw", tmp_path / "other", allow_partial=True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("ksdd3",), "ksdd3: no data set with a builder; choose ksdd2, mvtec_ad"),
        (("ksdd2", "supervised_17"), "ksdd2/supervised_17: no such configuration; choose ksdd2/un"),
        (("mvtec_ad",), "mvtec_ad: no such configuration; choose mvtec_ad/bottle, mvtec_ad/cable"),
        (("magnetic_tile", "a"), "magnetic_tile/a: no such configuration; choose magnetic_tile"),
        (("mvtec_ad", "tile"), "mvtec_ad: no raw data given; Get mvtec_anomaly_detection.tar.xz"),
        (("natural_images",), "natural_images: no raw data given; Give the path of a folder of"),
    ],
)
def test_what_is_not_known_or_missing_is_told(args, message, tmp_path):
    assert refused(tmp_path, *args).startswith(message)


def test_builders_are_found_by_name_and_survive_pickling(tmp_path):
    write_ksdd2(tmp_path / "raw")
    builder = tfds.builder(
        "ksdd2/supervised_16", data_dir=tmp_path, raw=tmp_path / "raw", allow_partial=True
    )
    assert type(builder) is BUILDERS["ksdd2"]
    copy = pickle.loads(pickle.dumps(builder))
    tfds.disable_progress_bar()
    copy.download_and_prepare()
    assert copy.info.file_format == tfds.core.FileFormat.ARRAY_RECORD
    assert copy.info.splits["train"].num_examples == 3


def run_command(*argv):
    parser = argparse.ArgumentParser()
    prepare_command.arguments(parser)
    prepare_command.run(parser.parse_args([str(arg) for arg in argv]))


def test_command_says_what_can_be_read(tmp_path, capsys):
    write_ksdd2(tmp_path / "raw")
    options = ("--data-dir", tmp_path / "tfds")
    run_command("ksdd2", tmp_path / "raw", *options, "--allow-partial")
    folder = tmp_path / "tfds/ksdd2/unsupervised/1.0.0"
    assert capsys.readouterr().out == f"tfds:ksdd2/unsupervised in {folder}: 2 train, 2 test\n"
    with pytest.raises(VqadError, match="not the whole of ksdd2"):
        run_command("tfds:ksdd2/supervised_16", tmp_path / "raw", *options)
    with pytest.raises(VqadError, match="kolektor: no data set with"):
        run_command("kolektor", *options, "download")
    with pytest.raises(VqadError, match="ksdd2: the path of its raw data is empty"):
        run_command("ksdd2", "", *options)


def test_command_is_quick_to_import():
    code = "import sys, vqad.commands.prepare; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
