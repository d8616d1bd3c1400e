import subprocess
import sys

import numpy as np
import pytest

from vqad.data.sources import open_source
from vqad.data.surface_demo.draw import CLASSES, draw_picture, draw_tile
from vqad.errors import VqadError

DEFECTS = CLASSES[1:]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="module")
def test_tiles(data_dir):
    source = open_source("tfds:surface_demo/tiles", "test", (128, 128), data_dir=data_dir)
    return source, [source[i] for i in range(len(source))]


def test_counts_and_classes(data_dir, test_tiles):
    source, examples = test_tiles
    assert source.classes == ("good", "scratch", "pit", "stain", "dent")
    class_ids = [int(example["class_id"]) for example in examples]
    assert np.bincount(class_ids).tolist() == [48, 12, 12, 12, 12]
    assert source.names(3) == "test[3]"
    train = open_source("tfds:surface_demo/tiles", "train", (64, 64), data_dir=data_dir)
    assert len(train) == 200
    assert train[199]["image"].shape == (64, 64, 3)
    pictures = open_source("tfds:surface_demo/pictures", "train", None, data_dir=data_dir)
    assert len(pictures) == 600
    np.testing.assert_array_equal(pictures[17]["image"], draw_picture(17))


def test_data_set_holds_what_is_drawn(test_tiles):
    _, examples = test_tiles
    for index, class_name in ((0, "good"), (48, "scratch"), (95, "dent")):
        tile = draw_tile(200 + index, class_name)
        np.testing.assert_array_equal(examples[index]["image"], tile.image)
        np.testing.assert_array_equal(examples[index]["mask"], tile.mask)


@pytest.mark.parametrize("class_name", DEFECTS)
def test_masks_are_where_the_clean_tile_was_changed(class_name):
    for number in range(12):
        tile = draw_tile(number, class_name)
        change = np.abs(tile.image.astype(int) - tile.clean).max(axis=-1)
        assert (change[tile.mask == 0] == 0).all()
        assert (change[tile.mask == 1] > 0).mean() > 0.9
        assert change.max() > 25  # a person sees it
        assert 20 / 128**2 < tile.mask.mean() < 0.06
        edge = np.ones((128, 128), bool)
        edge[1:-1, 1:-1] = False
        assert not tile.mask[edge].any()
        np.testing.assert_array_equal(tile.clean, draw_tile(number).image)


def test_drawing_depends_on_the_number_alone():
    np.testing.assert_array_equal(draw_tile(5, "pit").image, draw_tile(5, "pit").image)
    assert (draw_tile(5).image != draw_tile(6).image).any()
    np.testing.assert_array_equal(draw_picture(5), draw_picture(5))
    assert (draw_picture(5) != draw_picture(6)).any()


def separation(score, label):
    """Area under the ROC curve, whichever side is up."""
    above = (score[label == 1][:, None] > score[label == 0]).mean()
    return max(above, 1 - above)


def test_statistics_of_an_image_do_not_give_its_defect_away(test_tiles):
    _, examples = test_tiles
    images = np.stack([example["image"] for example in examples]) / 255
    label = np.array([example["label"] for example in examples])
    spread = images.max(axis=-1) - images.min(axis=-1)
    for statistic in (
        images.mean(axis=(1, 2, 3)),
        images.std(axis=(1, 2, 3)),
        spread.mean(axis=(1, 2)),
        (images[..., 0] - images[..., 2]).mean(axis=(1, 2)),
    ):
        assert separation(statistic, label) < 0.65


def test_pictures_vary():
    pictures = np.stack([draw_picture(number) for number in range(60)]) / 255
    means = pictures.mean(axis=(1, 2))
    assert means.std(axis=0).min() > 0.1
    assert pictures.std(axis=(1, 2)).mean() > 0.08


def test_preparing_and_reading_needs_no_tensorflow(tmp_path):
    code = (
        "import sys; from vqad.data.sources import open_source;"
        f"s = open_source('tfds:surface_demo/tiles', 'test', None, data_dir={str(tmp_path)!r});"
        "s[50]; print(sorted({'tensorflow', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_what_the_data_set_lacks_is_said(data_dir, tmp_path):
    with pytest.raises(
        VqadError, match="surface_demo/x: no such configuration; choose surface_demo/tiles"
    ):
        open_source("tfds:surface_demo/x", "train", None, data_dir=data_dir)
    with pytest.raises(VqadError, match="surface_demo/pictures: no split 'test', only train"):
        open_source("tfds:surface_demo/pictures", "test", None, data_dir=data_dir)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VqadError, match=r"cannot be written to .*give another data_dir"):
        open_source("tfds:surface_demo/tiles", "test", None, data_dir=str(tmp_path / "file"))
