import numpy as np
import pytest
from raw_data import (
    write_kolektor,
    write_magnetic_tile,
    write_mask,
    write_mvtec,
    write_picture,
    write_visa,
)

from vqad.data.builders import prepare
from vqad.data.sources import open_source
from vqad.errors import VqadError


def prepared(tmp_path, *args):
    return prepare(*args, tmp_path / "raw", tmp_path / "tfds", allow_partial=True)


def examples(builder, split):
    """(id, class, number of defective pixels) of each example."""
    names = builder.info.features["label"].names
    return [
        (e["id"].decode(), names[e["label"]], int((e["mask"] == 255).sum()))
        for e in builder.as_data_source(split)
    ]


def refused(tmp_path, *args, allow_partial=True):
    with pytest.raises(VqadError) as error:
        prepare(*args, tmp_path / "raw", tmp_path / "tfds", allow_partial=allow_partial)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_mvtec_has_the_classes_of_its_category(tmp_path):
    write_mvtec(tmp_path / "raw")
    builder = prepared(tmp_path, "mvtec_ad", "bottle")
    classes = ["good", "broken_large", "broken_small", "contamination"]
    assert builder.info.features["label"].names == classes
    good = [("train/good/000.png", "good", 0), ("train/good/001.png", "good", 0)]
    assert examples(builder, "train") == good
    assert examples(builder, "test") == [
        ("test/broken_large/000.png", "broken_large", 18),
        ("test/contamination/000.png", "contamination", 18),
        ("test/good/000.png", "good", 0),
    ]
    where = {"data_dir": str(tmp_path / "tfds"), "allow_partial": True}
    source = open_source("tfds:mvtec_ad/bottle", "test", None, **where)
    assert source.classes == tuple(classes)
    assert [int(source[i]["class_id"]) for i in range(3)] == [1, 3, 0]


def test_mvtec_category_folder_may_be_given_itself(tmp_path):
    write_mvtec(tmp_path / "raw")
    category = tmp_path / "raw" / "zipper"
    builder = prepare("mvtec_ad", "zipper", category, tmp_path / "tfds", allow_partial=True)
    assert builder.info.splits["test"].num_examples == 2
    with pytest.raises(VqadError, match=r"zipper: not in the layout expected; give a folder with"):
        prepare("mvtec_ad", "bottle", category, tmp_path / "tfds", allow_partial=True)


def test_mvtec_refuses_what_is_not_whole_or_not_known(tmp_path):
    write_mvtec(tmp_path / "raw")
    assert (
        "not the whole of mvtec_ad: 2 train good instead of 209, 1 test good instead of 20, "
        "2 test defective instead of 63; complete it"
    ) in refused(tmp_path, "mvtec_ad", "bottle", allow_partial=False)
    mask = tmp_path / "raw/bottle/ground_truth/contamination/000_mask.png"
    mask.unlink()
    assert "contamination/000.png: no mask for it; add ground_truth/contamination/000_" in refused(
        tmp_path, "mvtec_ad", "bottle"
    )
    write_mask(mask)
    write_picture(tmp_path / "raw/bottle/test/rough/000.png")
    assert (
        "test/rough/000.png: rough is no defect of mvtec_ad/bottle/1.0.0 (good, broken_large,"
        in refused(tmp_path, "mvtec_ad", "bottle")
    )


def test_visa_follows_its_table_and_masks_of_classes_become_255(tmp_path):
    write_visa(tmp_path / "raw")
    builder = prepared(tmp_path, "visa", "candle")
    normal, anomaly = "candle/Data/Images/Normal", "candle/Data/Images/Anomaly"
    assert examples(builder, "train") == [
        (f"{normal}/0000.JPG", "good", 0),
        (f"{normal}/0002.JPG", "good", 0),
    ]
    assert examples(builder, "test") == [
        (f"{anomaly}/000.JPG", "defect", 18),
        (f"{normal}/0001.JPG", "good", 0),
    ]


def test_visa_refuses_a_table_that_does_not_fit(tmp_path):
    def message():
        return refused(tmp_path, "visa", "candle")

    write_visa(tmp_path / "raw")
    table = tmp_path / "raw/split_csv/1cls.csv"
    text = table.read_text()
    (tmp_path / "raw/candle/Data/Images/Normal/0002.JPG").unlink()
    assert message() == (f"{tmp_path / 'raw'}: has no candle/Data/Images/Normal/0002.JPG; add it")
    table.write_text(text.replace("train,normal", "training,normal"))
    assert "row with split 'training' and label 'normal'" in message()
    table.write_text(text.replace("split,", "part,", 1))
    assert f"{table}: no column split; get the published file" in message()
    table.write_text(text.replace("Masks/Anomaly/000.png", "Masks/Anomaly/001.png"))
    table.write_text("\n".join(row for row in table.read_text().split("\n") if "0002" not in row))
    assert "000.JPG: no mask for it; add candle/Data/Masks/Anomaly/001.png" in message()
    table.unlink()
    assert "raw: has no split_csv/1cls.csv; add it" in message()


def test_kolektor_keeps_the_parts_of_an_item_together(tmp_path):
    write_kolektor(tmp_path / "raw")
    builder = prepared(tmp_path, "kolektor_sdd", None)
    assert examples(builder, "train") == [  # without the defective part of item 1
        ("kos01/Part0.jpg", "good", 0),
        ("kos03/Part0.jpg", "good", 0),
        ("kos03/Part5.jpg", "good", 0),
    ]
    assert examples(builder, "test") == [
        ("kos02/Part0.jpg", "good", 0),
        ("kos02/Part5.jpg", "defect", 18),
        ("kos04/Part0.jpg", "good", 0),
        ("kos04/Part5.jpg", "good", 0),
    ]
    image = builder.as_data_source("test")[0]["image"]
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    assert "kolektor_sdd/1.0.0: prepared in" in refused(
        tmp_path, "kolektor_sdd", None, allow_partial=False
    )


def test_magnetic_tile_keeps_the_pictures_of_a_tile_together(tmp_path):
    write_magnetic_tile(tmp_path / "raw")
    builder = prepared(tmp_path, "magnetic_tile", None)
    assert builder.info.metadata["difference"] == (
        "5 good instead of 952, 0 blowhole instead of 115, 0 break instead of 85, 1 crack instead "
        "of 57, 1 fray instead of 32, 0 uneven instead of 103"
    )
    assert [name for name, _, _ in examples(builder, "train")] == [
        "MT_Free/Imgs/exp1_num_5.jpg",
        "MT_Free/Imgs/exp1_num_6.jpg",
        "MT_Free/Imgs/exp2_num_5.jpg",
    ]
    assert examples(builder, "test") == [
        ("MT_Crack/Imgs/exp1_num_7.jpg", "crack", 18),
        ("MT_Fray/Imgs/exp6_num_9.jpg", "fray", 18),
        ("MT_Free/Imgs/exp1_num_8.jpg", "good", 0),
        ("MT_Free/Imgs/exp2_num_7.jpg", "good", 0),  # the tile that is cracked at exp1
    ]
