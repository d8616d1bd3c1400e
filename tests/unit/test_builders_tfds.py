import pytest
import tfds_testing
from raw_data import (
    write_kolektor,
    write_ksdd2,
    write_magnetic_tile,
    write_mvtec,
    write_pictures,
    write_visa,
)

from vqad.data.builders import (
    BUILDERS,
    KolektorSdd,
    Ksdd2,
    MagneticTile,
    MvtecAd,
    NaturalImages,
    Visa,
)


class Ksdd2Test(tfds_testing.BuilderTestCase):
    DATASET_CLASS = Ksdd2
    BUILDER_CONFIG_NAMES_TO_TEST = ("unsupervised",)
    SPLITS = {"train": 2, "test": 2}  # noqa: RUF012
    write_raw = write_ksdd2


class Ksdd2Supervised16Test(Ksdd2Test):
    BUILDER_CONFIG_NAMES_TO_TEST = ("supervised_16",)
    SPLITS = {"train": 3, "test": 2}  # noqa: RUF012


class Ksdd2Supervised53Test(Ksdd2Test):
    BUILDER_CONFIG_NAMES_TO_TEST = ("supervised_53",)
    SPLITS = {"train": 4, "test": 2}  # noqa: RUF012


class Ksdd2Supervised126Test(Ksdd2Test):
    BUILDER_CONFIG_NAMES_TO_TEST = ("supervised_126",)
    SPLITS = {"train": 5, "test": 2}  # noqa: RUF012


class Ksdd2Supervised246Test(Ksdd2Test):
    BUILDER_CONFIG_NAMES_TO_TEST = ("supervised_246",)
    SPLITS = {"train": 6, "test": 2}  # noqa: RUF012


class MvtecAdBottleTest(tfds_testing.BuilderTestCase):
    DATASET_CLASS = MvtecAd
    BUILDER_CONFIG_NAMES_TO_TEST = ("bottle",)
    SPLITS = {"train": 2, "test": 3}  # noqa: RUF012
    write_raw = write_mvtec


class MvtecAdZipperTest(MvtecAdBottleTest):
    BUILDER_CONFIG_NAMES_TO_TEST = ("zipper",)
    SPLITS = {"train": 2, "test": 2}  # noqa: RUF012


class VisaTest(tfds_testing.BuilderTestCase):
    DATASET_CLASS = Visa
    BUILDER_CONFIG_NAMES_TO_TEST = ("candle", "pcb1")
    SPLITS = {"train": 2, "test": 2}  # noqa: RUF012
    write_raw = write_visa


class KolektorSddTest(tfds_testing.BuilderTestCase):
    DATASET_CLASS = KolektorSdd
    SPLITS = {"train": 3, "test": 4}  # noqa: RUF012
    write_raw = write_kolektor


class MagneticTileTest(tfds_testing.BuilderTestCase):
    DATASET_CLASS = MagneticTile
    SPLITS = {"train": 3, "test": 4}  # noqa: RUF012
    write_raw = write_magnetic_tile


class NaturalImagesTest(tfds_testing.BuilderTestCase):
    DATASET_CLASS = NaturalImages
    SPLITS = {"train": 4}  # noqa: RUF012
    write_raw = write_pictures


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (name, config and config.name)
        for name, builder in BUILDERS.items()
        for config in builder.BUILDER_CONFIGS or [None]
    ],
)
def test_every_configuration_says_what_it_is(name, config, tmp_path):
    info = BUILDERS[name](config=config, data_dir=tmp_path).info
    assert len(info.description) > 60
    if name != "natural_images":
        assert info.features["label"].names[0] == "good"
        assert len(set(info.features["label"].names)) >= 2
        assert info.homepage.startswith("https://")
        assert info.citation.count("{") == info.citation.count("}") > 5


def test_published_numbers_add_up(tmp_path):
    def total(name):
        counts = [
            BUILDERS[name](config=config.name, data_dir=tmp_path).expected()
            for config in BUILDERS[name].BUILDER_CONFIGS
        ]
        return [sum(count[key] for count in counts) for key in counts[0]]

    assert total("mvtec_ad") == [3629, 0, 467, 1258]
    assert total("visa") == [8659, 0, 962, 1200]
    names = (
        BUILDERS["mvtec_ad"](config=c.name, data_dir=tmp_path) for c in MvtecAd.BUILDER_CONFIGS
    )
    assert sum(len(builder.classes()) - 1 for builder in names) == 73
