import itertools

import numpy as np
import pytest
from PIL import Image

from vqad.data.pipeline import evaluation_batches, training_batches
from vqad.data.sources import open_source
from vqad.errors import VqadError

SIZE = (32, 48)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Seven noisy pictures of several sizes, one smaller than what is asked for."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    sizes = [(60, 90), (40, 100), (100, 50), (64, 64), (20, 30), (33, 49), (70, 70)]
    for number, size in enumerate(sizes):
        noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{number}.png")
    return str(root)


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Ten images, image i all of value i; numbers 5 to 9 are defective."""
    root = tmp_path_factory.mktemp("flat")
    for number in range(10):
        kind = "good" if number < 5 else "spot"
        folders = [f"test/{kind}", "train/good"] + ["ground_truth/spot"] * (number > 4)
        for name in folders:
            (root / name).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(np.full((32, 32), number, np.uint8))
            image.save(root / name / f"{number}.png")
    return str(root)


def take(count, source, **options):
    options = {"batch_size": 4, "image_size": SIZE, "seed": 3, "random_crop": True} | options
    return [b["image"] for b in itertools.islice(training_batches(source, **options), count)]


@pytest.mark.parametrize("random_crop", [True, False])
def test_starting_in_the_middle_gives_the_same_bits(pictures, random_crop):
    source = open_source(pictures, "train", None)
    straight = take(9, source, random_crop=random_crop)
    fresh = open_source(pictures, "train", None)
    first = take(4, fresh, random_crop=random_crop, num_threads=1)
    rest = take(5, fresh, random_crop=random_crop, num_threads=3, start_step=4)
    np.testing.assert_array_equal(straight, first + rest)
    assert straight[0].dtype == np.uint8
    assert straight[0].shape == (4, *SIZE, 3)


def test_processes_share_a_batch(pictures):
    source = open_source(pictures, "train", None)
    whole = take(5, source, batch_size=6)
    parts = [
        take(5, source, batch_size=6, process_index=index, process_count=3) for index in range(3)
    ]
    assert parts[0][0].shape[0] == 2
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))


def orders(source, seed, epochs=4):
    """Which images come in which order, `epochs` times the whole set."""
    batches = take(epochs, source, batch_size=10, image_size=(32, 32), seed=seed, random_crop=False)
    return [batch[:, 0, 0, 0].tolist() for batch in batches]


def test_each_epoch_has_every_image_once_in_an_order_of_its_own(flat):
    source = open_source(flat, "train", (32, 32))
    epochs = orders(source, seed=0)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == len(epochs)
    assert orders(source, seed=0) == epochs
    assert orders(source, seed=1) != epochs


def test_batch_larger_than_the_set_repeats_it(flat):
    source = open_source(flat, "train", (32, 32))
    (batch,) = take(1, source, batch_size=25, image_size=(32, 32), random_crop=False)
    counts = np.bincount(batch[:, 0, 0, 0], minlength=10)
    assert counts.sum() == 25
    assert counts.min() >= 2


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Good images of value 10 to 14, labelled defects of 100 and 101 with one corner masked."""
    root = tmp_path_factory.mktemp("labelled")
    for kind, values in (("good", range(10, 15)), ("spot", (100, 101))):
        (root / "train" / kind).mkdir(parents=True)
        for value in values:
            image = Image.fromarray(np.full((32, 32), value, np.uint8))
            image.save(root / "train" / kind / f"{value}.png")
    (root / "ground_truth/spot").mkdir(parents=True)
    mask = np.zeros((32, 32), np.uint8)
    mask[:4, :6] = 255
    for value in (100, 101):
        Image.fromarray(mask).save(root / f"ground_truth/spot/{value}_mask.png")
    return str(root)


@pytest.mark.parametrize("workers", [0, 2])
def test_labelled_defects_are_a_set_share_of_the_images(labelled, workers):
    source = open_source(labelled, "train", (32, 32), labelled=True)
    assert (len(source), source.num_labelled) == (7, 2)
    options = {"batch_size": 4, "image_size": (32, 32), "seed": 1, "random_crop": False}
    options |= {"labelled_share": 0.3, "num_workers": workers}
    straight = list(itertools.islice(training_batches(source, **options), 10))
    joined = {key: np.concatenate([b[key] for b in straight]) for key in straight[0]}
    shown = joined["image"][:, 0, 0, 0]
    assert joined["labelled"].sum() == 12
    assert {int(b["labelled"].sum()) for b in straight} <= {1, 2}
    np.testing.assert_array_equal(joined["labelled"], shown >= 100)
    np.testing.assert_array_equal(joined["mask"].sum((1, 2)), 24 * joined["labelled"])
    assert np.bincount(shown)[[100, 101]].tolist() == [6, 6]
    counts = np.bincount(shown)[10:15]
    assert counts.sum() == 28
    assert np.ptp(counts) <= 1
    later = next(iter(training_batches(source, **options, start_step=7)))
    for key in later:
        np.testing.assert_array_equal(later[key], straight[7][key])


def test_labelled_defects_can_be_left_out(labelled):
    source = open_source(labelled, "train", (32, 32))
    assert (len(source), source.num_labelled) == (5, 0)
    options = {"batch_size": 4, "image_size": (32, 32), "seed": 1, "random_crop": False}
    assert list(next(training_batches(source, **options, labelled_share=0.3))) == ["image"]


def test_random_crops_differ_are_mirrored_and_stay_inside(tmp_path):
    y, x = np.mgrid[:120, :200]
    ramp = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    source = open_source(str(tmp_path), "train", None)
    crops = np.concatenate(take(20, source, batch_size=8)).astype(int)
    across = np.abs(crops[:, 0, -1, 0] - crops[:, 0, 0, 0])
    down = crops[:, -1, 0, 1] - crops[:, 0, 0, 1]
    # From the wanted size (48 wide) up to the largest of its aspect ratio (180 wide).
    assert across.min() < 60
    assert across.max() > 160
    assert np.abs(across / 48 - down / 32).max() < 0.15
    mirrored = (crops[:, 0, -1, 0] < crops[:, 0, 0, 0]).mean()
    assert 0.35 < mirrored < 0.65
    assert len(np.unique(crops.reshape(len(crops), -1), axis=0)) == len(crops)


def test_without_cropping_images_are_resized_whole(pictures):
    batch = take(1, open_source(pictures, "train", None), random_crop=False)
    ready = take(1, open_source(pictures, "train", SIZE), random_crop=False)
    np.testing.assert_array_equal(batch, ready)


def test_evaluation_has_every_image_once_in_order(flat):
    source = open_source(flat, "test", (32, 32))
    batches = list(evaluation_batches(source, batch_size=4))
    assert [b["image"].shape for b in batches] == [(4, 32, 32, 3)] * 3
    joined = {key: np.concatenate([b[key] for b in batches]) for key in batches[0]}
    valid = joined.pop("valid")
    assert valid.tolist() == [True] * 10 + [False] * 2
    assert joined["index"].dtype == joined["label"].dtype == joined["class_id"].dtype == np.int32
    kept = {key: value[valid] for key, value in joined.items()}
    np.testing.assert_array_equal(kept["index"], np.arange(10))
    np.testing.assert_array_equal(kept["image"][:, 0, 0, 0], np.arange(10))
    np.testing.assert_array_equal(kept["label"], [0] * 5 + [1] * 5)
    np.testing.assert_array_equal(kept["class_id"], kept["label"])
    np.testing.assert_array_equal(kept["mask"].mean(axis=(1, 2)), kept["label"])


def test_batch_that_cannot_be_divided(flat):
    source = open_source(flat, "train", None)
    with pytest.raises(VqadError, match="batch_size 6: cannot be divided among 4 processes"):
        take(1, source, batch_size=6, process_count=4)
    with pytest.raises(VqadError, match="batch_size 0"):
        take(1, source, batch_size=0)


def test_picture_that_breaks_while_training_is_named(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(path)
    source = open_source(str(tmp_path), "train", None)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(VqadError, match=r"a\.png: damaged or incomplete"):
        take(1, source)
