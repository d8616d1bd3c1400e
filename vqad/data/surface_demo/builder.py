"""The TFDS data set `surface_demo`, prepared and read without TensorFlow and without a network."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from vqad.data.surface_demo.draw import CLASSES, SIZE, draw_picture, draw_tile

Example = dict[str, Any]

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
    ) -> dict[str, Iterator[tuple[int, Example]]]:
        del dl_manager  # nothing to download
        if self.builder_config.name == "pictures":
            pictures = ({"image": draw_picture(number)} for number in range(PICTURES))
            return {"train": self._generate_examples(pictures)}
        train = ["good"] * TRAIN_TILES
        test = [name for name, count in TEST_TILES.items() for _ in range(count)]
        return {
            "train": self._generate_examples(_tiles(0, train)),
            "test": self._generate_examples(_tiles(len(train), test)),
        }

    def _generate_examples(self, drawings: Iterator[Example]) -> Iterator[tuple[int, Example]]:
        for number, drawing in enumerate(drawings):
            images = {key: _png(drawing[key]) for key in ("image", "mask") if key in drawing}
            yield number, drawing | images


def _tiles(first: int, classes: list[str]) -> Iterator[Example]:
    for number, class_name in enumerate(classes, first):
        tile = draw_tile(number, class_name)
        yield {"image": tile.image, "mask": 255 * tile.mask, "label": class_name}


def _png(image: np.ndarray) -> io.BytesIO:
    """An encoded image; TFDS would need TensorFlow to encode an array."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, format="PNG", compress_level=1)
    data.seek(0)
    return data
