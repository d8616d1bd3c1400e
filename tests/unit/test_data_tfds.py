import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from vqad.data import checks, prepared
from vqad.data.findings import NoTestSplit
from vqad.data.sources import open_source
from vqad.errors import VqadError


def encoded(value, size, file_format="PNG"):
    data = io.BytesIO()
    Image.fromarray(np.full(size, value, np.uint8)).save(data, format=file_format)
    data.seek(0)
    return data


class VqadTestPhotographs(tfds.core.GeneratorBasedBuilder):
    """Three JPEG files of several sizes with a label of no interest."""

    VERSION = tfds.core.Version("1.0.0")
    url_infos = None

    def _info(self):
        image = tfds.features.Image(encoding_format="jpeg")
        label = tfds.features.ClassLabel(names=["cat", "dog"])
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"image": image, "label": label}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for number, size in enumerate([(40, 50), (60, 30), (32, 32)]):
            yield number, {"image": encoded(40 * number, size, "JPEG"), "label": number % 2}


class VqadTestSurface(VqadTestPhotographs):
    """A surface whose class 0 is a defect, or whose last mask has another size."""

    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="defect_first"),
        tfds.core.BuilderConfig(name="odd_mask"),
        tfds.core.BuilderConfig(name="all_good"),
    ]

    def _info(self):
        names = ["good", "hole"]
        if self.builder_config.name == "defect_first":
            names.reverse()
        features = {
            "image": tfds.features.Image(encoding_format="png"),
            "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=names),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _generate_examples(self):
        count = 1 if self.builder_config.name == "all_good" else 3
        for number, side in enumerate([20, 20, 24][:count]):
            yield (
                number,
                {
                    "image": encoded(9, (20, 20)),
                    "mask": encoded(255 * (number > 0), (side, side)),
                    "label": int(number > 0),
                },
            )


def prepare(builder, file_format="array_record"):
    tfds.disable_progress_bar()
    builder.download_and_prepare(file_format=file_format)


def test_pictures_of_any_data_set_train_the_first_stage(tmp_path):
    prepare(VqadTestPhotographs(data_dir=tmp_path))
    name = "tfds:vqad_test_photographs"
    source = open_source(name, "train", None, data_dir=str(tmp_path))
    assert [image["image"].shape for image in source] == [(40, 50, 3), (60, 30, 3), (32, 32, 3)]
    assert list(source[2]) == ["image"]
    assert np.abs(source[2]["image"].astype(int) - 80).max() < 4
    with pytest.raises(VqadError, match="photographs: has no feature mask, needed to test"):
        open_source(name, "test", None, data_dir=str(tmp_path))


def test_class_0_must_be_the_good_one(tmp_path):
    prepare(VqadTestSurface(config="defect_first", data_dir=tmp_path))
    with pytest.raises(VqadError, match=r"its label is .*'hole'.*not 'good'"):
        open_source("tfds:vqad_test_surface/defect_first", "test", None, data_dir=str(tmp_path))
    with pytest.raises(VqadError, match=r"its label is .*'hole'.*not 'good'"):
        open_source("tfds:vqad_test_surface/defect_first", "train", None, data_dir=str(tmp_path))


def test_mask_of_another_size_is_named(tmp_path, monkeypatch):
    prepare(VqadTestSurface(config="odd_mask", data_dir=tmp_path))
    name = "tfds:vqad_test_surface/odd_mask"
    message = r"test\[2\].*: mask of 24 x 24 for an image of 20 x 20"
    with pytest.raises(VqadError, match=message):
        open_source(name, "test", (10, 10), data_dir=str(tmp_path))
    # Of very large prepared sets nothing is read before it is used.
    monkeypatch.setattr(checks, "DECODE_AT_MOST", 2)
    source = open_source(name, "test", (10, 10), data_dir=str(tmp_path))
    assert source[1]["mask"].all()
    with pytest.raises(VqadError, match=message):
        source[2]


def test_cut_files_are_named(tmp_path):
    prepare(VqadTestPhotographs(data_dir=tmp_path))
    (shard,) = tmp_path.rglob("*train.array_record*")
    data = shard.read_bytes()
    for kept in (data[: len(data) // 2], None):
        shard.unlink() if kept is None else shard.write_bytes(kept)
        with pytest.raises(VqadError, match="photographs: its files are damaged or incomplete"):
            open_source("tfds:vqad_test_photographs", "train", None, data_dir=str(tmp_path))


def test_a_test_split_needs_both_labels(tmp_path):
    prepare(VqadTestSurface(config="all_good", data_dir=tmp_path))
    with pytest.raises(NoTestSplit, match="all_good: no defective image in test"):
        open_source("tfds:vqad_test_surface/all_good", "test", None, data_dir=str(tmp_path))


def test_format_without_random_access_is_refused(tmp_path):
    prepare(VqadTestPhotographs(data_dir=tmp_path), "parquet")
    with pytest.raises(VqadError, match="prepared as parquet, not as array_record; delete that"):
        open_source("tfds:vqad_test_photographs", "train", None, data_dir=str(tmp_path))


def test_defective_images_of_a_training_split_are_left_out(tmp_path):
    prepare(VqadTestSurface(config="odd_mask", data_dir=tmp_path))
    source = open_source(
        "tfds:vqad_test_surface/odd_mask", "train", (32, 32), data_dir=str(tmp_path)
    )
    assert [source.names(i) for i in range(len(source))] == ["train[0]"]
    assert source[0]["image"].max() == 9


@pytest.mark.parametrize("path", ["gs://b/../../../../tmp/evil", "gs:///tmp/evil"])
def test_a_copy_of_a_bucket_stays_in_the_cache(tmp_path, monkeypatch, path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(prepared, "check_reachable", lambda _: None)
    with pytest.raises(VqadError, match="leads out of its bucket; give gs://<bucket>/<folder>"):
        prepared.fetched(path, "ksdd2")
