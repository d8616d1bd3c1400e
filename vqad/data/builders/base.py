"""What all builders share: finding the raw files, checking their number, writing examples."""

import inspect
import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from vqad.data.builders.download import download_archive
from vqad.data.builders.encoding import encode_mask, encode_picture
from vqad.data.builders.files import Files, LayoutError, open_files
from vqad.data.decode import check_mask_size, decode_mask
from vqad.data.layouts import GOOD
from vqad.errors import VqadError

Example = dict[str, Any]

ALLOW_PARTIAL = (
    "allow partial data (--config.allow_partial=True in training, --allow_partial in vqad prepare)"
)


class Record(NamedTuple):
    """One picture: its split, its file and that of its mask (None: no defect), and its class."""

    split: str
    name: str
    mask: str | None = None
    label: str = GOOD


class FilesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepares pictures from a folder or an archive, as `array_record` and without TensorFlow.

    A subclass says where its files are (`layout_pattern`, `LAYOUT`), which pictures they make
    (`records`), how many there should be (`expected`) and what is known of the data.

    Args:
      raw: The archive or folder with the raw files. If None, what is in the `manual_dir` of TFDS,
        else what can be downloaded.
      allow_partial: Prepare whatever number of pictures is there; what differs from the published
        data is kept in `info.metadata["difference"]`.
      file_format: As in TFDS, but `array_record` if None.
      **kwargs: `data_dir`, `config` and `version`, as in TFDS.
    """

    VERSION = tfds.core.Version("1.0.0")
    url_infos = None  # checksums are kept beside the downloads, see `download_archive`
    LAYOUT: ClassVar[str]
    ARCHIVES: ClassVar[tuple[str, ...]] = ()
    URL: ClassVar[str | None] = None
    HOMEPAGE: ClassVar[str | None] = None
    CITATION: ClassVar[str | None] = None

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

    def layout_pattern(self) -> str:
        """Of the files that are read, see `open_files`."""
        raise NotImplementedError

    def records(self, files: Files) -> list[Record]:
        """All pictures that there are, those too that no split of this configuration takes."""
        raise NotImplementedError

    def features(self) -> dict[str, Any]:
        """The features of an example."""
        return {"image": tfds.features.Image(shape=(None, None, 3)), "id": tfds.features.Text()}

    def expected(self) -> Mapping[str, int]:
        """Published numbers of `records`, by class, by 'train good', 'test defective' and so on."""
        return {}

    def difference(self, records: Sequence[Record]) -> str:
        """How `records` differ from the published data, in words; '' if they do not."""
        found: Counter[str] = Counter()
        for record in records:
            kind = GOOD if record.label == GOOD else "defective"
            found.update((record.label, f"{record.split} {kind}"))
        return ", ".join(
            f"{found[key]} {key} instead of {number}"
            for key, number in self.expected().items()
            if found[key] != number
        )

    def is_kept(self, record: Record) -> bool:
        """Whether a record belongs to this configuration: defects are for the test split."""
        return record.split == "test" or record.label == GOOD

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.getdoc(type(self)),
            features=tfds.features.FeaturesDict(self.features()),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _download_and_prepare(
        self, dl_manager: tfds.download.DownloadManager, **kwargs: Any
    ) -> None:
        with ExitStack() as self._stack:  # an archive stays open while examples are written
            super()._download_and_prepare(dl_manager=dl_manager, **kwargs)

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Example]]]:
        files = self._open(dl_manager)
        records = sorted(self.records(files), key=lambda record: record.name)
        difference = self.difference(records)
        if difference and not self._allow_partial:
            raise VqadError(
                f"{files.source}: not the whole of {self.name}: {difference}; complete it, "
                f"or {ALLOW_PARTIAL}"
            )
        self.info.metadata.update(source=str(files.source), difference=difference)
        kept = [record for record in records if self.is_kept(record)]
        if not kept:
            raise VqadError(f"{files.source}: no picture for {self.info.full_name}; check the path")
        return {
            split: self._generate_examples(files, [r for r in kept if r.split == split])
            for split in ("train", "test")
            if any(record.split == split for record in kept)
        }

    def _generate_examples(
        self, files: Files, records: Sequence[Record]
    ) -> Iterator[tuple[int, Example]]:
        for number, record in enumerate(records):
            yield number, self.example(files, record)

    def example(self, files: Files, record: Record) -> Example:
        """Reads, checks and encodes one picture."""
        picture, _ = encode_picture(files.read(record.name), files.path(record.name))
        return {"image": io.BytesIO(picture), "id": record.name}

    def _open(self, dl_manager: tfds.download.DownloadManager) -> Files:
        def opened(path: str | Path) -> Files:
            scratch = self._stack.enter_context(tempfile.TemporaryDirectory(dir=self.data_path))
            return self._stack.enter_context(
                open_files(path, self.layout_pattern(), self.LAYOUT, scratch, self.ARCHIVES)
            )

        if self.raw is not None:
            return opened(self.raw)
        try:
            return opened(dl_manager.manual_dir)
        except AssertionError as error:  # TFDS: the folder is missing or empty
            if self.URL is None:
                how = " ".join(self.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
                raise VqadError(f"{self.name}: no raw data given; {how}") from error
        except LayoutError:  # a folder for the raw files of several data sets
            if self.URL is None:
                raise
        return opened(download_archive(dl_manager, self.URL))


class SurfaceBuilder(FilesBuilder, skip_registration=True):
    """Pictures of a surface with masks (0 and 255; all black where good) and classes."""

    def classes(self) -> Sequence[str]:
        """The names of the classes, 'good' first."""
        return (GOOD, "defect")

    def features(self) -> dict[str, Any]:
        """The features of an example."""
        image = {"image": tfds.features.Image(shape=(None, None, 3))}
        return image | {
            "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=self.classes()),
            "id": tfds.features.Text(),
        }

    def example(self, files: Files, record: Record) -> Example:
        """Reads, checks and encodes one picture and its mask."""
        picture, size = encode_picture(files.read(record.name), files.path(record.name))
        mask = np.zeros(size, np.uint8)
        if record.mask is not None:
            path = files.path(record.mask)
            mask = decode_mask(files.read(record.mask), path)
            check_mask_size(path, mask.shape, size)
        return {
            "image": io.BytesIO(picture),
            "mask": io.BytesIO(encode_mask(mask)),
            "label": record.label,
            "id": record.name,
        }


def mask_for(files: Files, picture: str, mask: str) -> str:
    """The name of a defective picture's mask.

    Raises:
      VqadError: The files have no such mask.
    """
    if mask not in files:
        raise VqadError(f"{files.path(picture)}: no mask for it; add {mask}")
    return mask
