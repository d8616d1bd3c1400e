"""What all builders share: finding the raw files, checking their number, writing examples."""

import inspect
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from vqad.data.builders.download import download_archive
from vqad.data.builders.encoding import encode_picture, encode_png
from vqad.data.builders.files import Files, LayoutError, open_files
from vqad.data.layouts import DEFECT, GOOD, Layout, Record
from vqad.errors import VqadError

ALLOW_PARTIAL = (
    "allow partial data (--config.allow_partial=True in training, --allow-partial in vqad prepare)"
)


@cache
def published() -> Mapping[str, Mapping[str, Any]]:
    """What is known of the public data sets, by name and by attribute of the builder.

    `NUMBERS` are of pictures, by configuration ('' if there are none) and by class, by 'train
    good', 'test defective' and so on; under `defects` are the classes of defects.
    """
    return json.loads(resources.files("vqad.data.builders").joinpath("published.json").read_bytes())


class FilesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepares pictures from a folder or an archive, as `array_record` and without TensorFlow.

    A subclass says which files it reads (`FILES`, a regular expression of their names in the
    layout, and `PREFIX` of what may stand before; CONFIG in them is the configuration), which of
    them are pictures and masks (`LAYOUT`; without masks, a data set has neither masks nor classes),
    and where names do not tell, what class and split they are of (`arrange`). What else is known of
    it is in `published.json`.

    `raw` is the archive or folder; if None, what is in the `manual_dir` of TFDS is read, else what
    can be downloaded. With `allow_partial`, what differs from the published data is kept in
    `info.metadata["difference"]`. All else is as in TFDS.
    """

    VERSION = tfds.core.Version("1.0.0")
    url_infos = None  # checksums are kept beside the downloads, see `download_archive`
    FILES: ClassVar[str]
    PREFIX: ClassVar[str] = "(?:[^/]+/){1,2}"
    LAYOUT: ClassVar[Layout]
    IN_WORDS: ClassVar[str]
    ARCHIVES: ClassVar[Sequence[str]]
    NUMBERS: ClassVar[Mapping[str, Mapping[str, Any]]]
    URL: ClassVar[str | None] = None
    HOMEPAGE: ClassVar[str | None] = None
    CITATION: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for attribute, value in published()[cls.name].items():
            setattr(cls, attribute, value)
        cls.BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in cls.NUMBERS if name]

    def __init__(
        self,
        *,
        raw: str | Path | None = None,
        allow_partial: bool = False,
        file_format: str | tfds.core.FileFormat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(file_format=file_format, **kwargs)
        if file_format is None and not self.is_prepared():
            self.info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD, override=True)
        self._original_state |= {"raw": raw, "allow_partial": allow_partial}  # for pickle
        self.raw = None if raw is None else Path(os.path.abspath(Path(raw).expanduser()))
        self._allow_partial = allow_partial

    def records(self, files: Files) -> list[Record]:
        """All pictures that there are, those too that no split of this configuration takes."""
        found = self.LAYOUT.records(files.names, lambda name: not files.mask(name).any())
        return self.arrange(found)

    def arrange(self, records: list[Record]) -> list[Record]:
        """Gives records the classes and splits of the data set."""
        return records

    def classes(self) -> tuple[str, ...]:
        """The names of the classes, 'good' first."""
        return (GOOD, *self.NUMBERS[self._config_name].get("defects", (DEFECT,)))

    def expected(self) -> dict[str, int]:
        """Published numbers of `records`, by class, by 'train good', 'test defective' and so on."""
        known = self.NUMBERS[self._config_name]
        return {key: number for key, number in known.items() if key != "defects"}

    @property
    def _config_name(self) -> str:
        return self.builder_config.name if self.builder_config else ""

    def difference(self, records: Sequence[Record]) -> str:
        """How `records` differ from the published data, in words; '' if they do not."""
        found = Counter(record.label for record in records)
        found.update(f"{r.split} {GOOD if r.label == GOOD else 'defective'}" for r in records)
        return ", ".join(
            f"{found[key]} {key} instead of {number}"
            for key, number in self.expected().items()
            if found[key] != number
        )

    def is_kept(self, record: Record) -> bool:
        """Whether a record belongs to this configuration: defects are for the test split."""
        return record.split == "test" or record.label == GOOD

    def example(self, files: Files, record: Record) -> dict[str, Any]:
        """Reads, checks and encodes one picture and its mask."""
        picture, size = encode_picture(files.read(record.name), files.path(record.name))
        example = {"image": picture, "id": record.name}
        if self.LAYOUT.masks:
            mask = np.zeros(size, np.uint8)
            for name in record.masks:
                mask |= files.mask(name, size)
            example |= {"mask": encode_png(255 * mask), "label": record.label}
        return example

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"image": tfds.features.Image(shape=(None, None, 3)), "id": tfds.features.Text()}
        if self.LAYOUT.masks:
            features |= {
                "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=self.classes()),
            }
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.getdoc(type(self)),
            features=tfds.features.FeaturesDict(features),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _download_and_prepare(
        self, dl_manager: tfds.download.DownloadManager, **kwargs: Any
    ) -> None:
        with tempfile.TemporaryDirectory(dir=self.data_path) as self._scratch:
            super()._download_and_prepare(dl_manager=dl_manager, **kwargs)

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        files = self._open(dl_manager)
        records = sorted(self.records(files), key=lambda record: record.name)
        for record in records:
            self._check(files, record)
        difference = self.difference(records)
        if difference and not self._allow_partial:
            what = f"not the whole of {self.name}: {difference}"
            raise VqadError(f"{files.source}: {what}; complete it, or {ALLOW_PARTIAL}")
        self.info.metadata.update(source=files.source, difference=difference)
        kept = list(filter(self.is_kept, records))
        if not kept:
            raise VqadError(f"{files.source}: no picture for {self.info.full_name}; check the path")
        return {
            split: self._generate_examples(files, [r for r in kept if r.split == split])
            for split in ("train", "test")
            if any(record.split == split for record in kept)
        }

    def _check(self, files: Files, record: Record) -> None:
        path = files.path(record.name)
        if record.label not in ("", *self.classes()):
            what = f"{record.label} is no defect of {self.info.full_name}"
            known = ", ".join(self.classes())
            raise VqadError(f"{path}: {what} ({known}); take it out or rename it")
        if record.label != GOOD:
            masks = record.masks or (self.LAYOUT.mask_of(record.name),)
            if missing := [mask for mask in masks if mask not in files]:
                raise VqadError(f"{path}: no mask for it; add {missing[0]}")

    def _generate_examples(
        self, files: Files, records: Sequence[Record]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        return ((number, self.example(files, record)) for number, record in enumerate(records))

    def _open(self, dl_manager: tfds.download.DownloadManager) -> Files:
        pattern = f"{self.PREFIX}(?P<name>{self.FILES})".replace("CONFIG", self._config_name)
        how = pattern, self.IN_WORDS, self._scratch, self.ARCHIVES
        if self.raw is not None:
            return open_files(self.raw, *how)
        try:
            return open_files(dl_manager.manual_dir, *how)
        except (AssertionError, LayoutError) as error:
            if self.URL is None and isinstance(error, LayoutError):
                raise  # the folder may hold the raw files of several data sets
            if self.URL is None:  # TFDS: the folder is missing or empty
                get_it = self.MANUAL_DOWNLOAD_INSTRUCTIONS
                raise VqadError(f"{self.name}: no raw data given; {get_it}") from error
        return open_files(download_archive(dl_manager, self.URL), *how)
