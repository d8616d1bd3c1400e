"""The TFDS data set `surface_demo`, prepared and read without TensorFlow and without a network."""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from vqad.data.builders.encoding import encode_png
from vqad.data.surface_demo.draw import CLASSES, SIZE, draw_picture, draw_tile

PICTURES = 600
TRAIN_TILES = 200
TEST_TILES = {"good": 48} | dict.fromkeys(CLASSES[1:], 12)


class SurfaceDemo(tfds.core.GeneratorBasedBuilder):
    """Images of 128 x 128 drawn from a seed.

    `pictures` has 600 pictures of anything to train the first stage on. `tiles` has one surface,
    brushed metal: 200 good tiles to train on; 48 good and 4 x 12 damaged ones, with masks, to test.
    """

    url_infos = None  # nothing is downloaded, so there are no checksums to look for
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012  named and typed so by TFDS
        tfds.core.BuilderConfig(name="tiles", description="Metal tiles with and without defects"),
        tfds.core.BuilderConfig(name="pictures", description="Pictures of anything"),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"image": tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="png")}
        if self.builder_config.name == "tiles":
            features["mask"] = tfds.features.Image(shape=(SIZE, SIZE, 1), encoding_format="png")
            features["label"] = tfds.features.ClassLabel(names=CLASSES)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager  # nothing to download
        if self.builder_config.name == "pictures":
            drawn = ((n, {"image": encode_png(draw_picture(n))}) for n in range(PICTURES))
            return {"train": drawn}
        test = [name for name, count in TEST_TILES.items() for _ in range(count)]
        return {
            "train": self._generate_examples(0, ["good"] * TRAIN_TILES),
            "test": self._generate_examples(TRAIN_TILES, test),
        }

    def _generate_examples(
        self, first: int, classes: list[str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, label in enumerate(classes):
            tile = draw_tile(first + number, label)
            images = {"image": encode_png(tile.image), "mask": encode_png(255 * tile.mask)}
            yield number, {**images, "label": label}
