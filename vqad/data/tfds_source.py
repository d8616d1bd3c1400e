"""Prepared TFDS data sets as images at random access, read without TensorFlow."""

import contextlib
import io
import logging
import re
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds

from vqad.data.builders import BUILDERS, prepare
from vqad.data.layouts import GOOD, NoTestSplit, Split
from vqad.data.mirror import fetched
from vqad.data.prepared import check_files, reading_prepared
from vqad.data.surface_demo.builder import SurfaceDemo
from vqad.errors import VqadError

logger = logging.getLogger(__name__)


class TfdsBackend:
    """One split of a TFDS data set; pictures stay encoded until they are wanted.

    Training needs the feature `image`; testing also `mask` and `label`, a ClassLabel whose first
    name is 'good'. Of a training split with such a label the defective images are left out, unless
    `labelled` asks for them, after the good ones; they must have masks then. Labels without a class
    'good' are not looked at, as in pictures of anything.

    Args:
      spec: `tfds:<name>[/<config>]`.
      split: 'train' or 'test'.
      labelled: Whether to keep the defective images of a training split.
      data_dir: Where TFDS keeps its data; its own default if None. What is remote is copied here.
      manual_dir: Archive or folder that a data set of `vqad.data.builders` is prepared from, where
        that was not done yet.
      allow_partial: Whether that may be less or more than what was published.

    Raises:
      VqadError: The data set is not known or not prepared, was prepared in a format that has no
        random access, or lacks the split or a feature.
      NoTestSplit: It lacks a test split with masks and labels.
    """

    def __init__(
        self,
        spec: str,
        split: Split,
        labelled: bool,
        data_dir: str | None,
        manual_dir: str | None = None,
        allow_partial: bool = False,
    ) -> None:
        self.name = spec
        self._split = split
        self.num_labelled = 0
        self.layout, self.findings = "prepared by TFDS", ()
        name = spec.partition(":")[2]
        # With a namespace before the name, TFDS would load data and code from elsewhere.
        if not re.fullmatch(r"\w+(/[\w.+-]+)?(:[\d.*]+)?", name, re.ASCII):
            raise VqadError(f"{spec}: not the name of a data set; give tfds:<name>[/<config>]")
        data_dir = fetched(data_dir, name)
        self._place = name, data_dir
        with reading_prepared(*self._place):
            self._open(_prepared(spec, data_dir, manual_dir, allow_partial), labelled)

    def _open(self, builder: tfds.core.DatasetBuilder, labelled: bool) -> None:
        spec, split = self.name, self._split
        if split not in builder.info.splits:
            kind = NoTestSplit if split == "test" else VqadError
            raise kind(
                f"{spec}: no split '{split}', only {', '.join(builder.info.splits)}; "
                "name a data set or a configuration that has it"
            )
        features = builder.info.features
        wanted = ("image",) if split == "train" else ("image", "mask", "label")
        missing = [key for key in wanted if key not in features]
        if missing:
            kind = NoTestSplit if split == "test" else VqadError
            raise kind(
                f"{spec}: has no feature {' or '.join(missing)}, needed to {split}; "
                f"it has {', '.join(features)}: name another data set"
            )
        if split == "test" and not isinstance(features["label"], tfds.features.ClassLabel):
            raise VqadError(
                f"{spec}: its label has no class names; name a data set with a ClassLabel"
            )
        label = dict(features.items()).get("label")
        named = isinstance(label, tfds.features.ClassLabel)
        self.classes = tuple(label.names) if named and split == "test" else (GOOD,)
        if split == "test" and self.classes[0] != GOOD:
            raise VqadError(
                f"{spec}: first class is '{self.classes[0]}', not '{GOOD}'; "
                "name a data set whose class 0 is the defect-free one"
            )
        skip = {key: tfds.decode.SkipDecoding() for key in ("image", "mask") if key in features}
        self._data: Any = builder.as_data_source(
            split=split, decoders=skip, file_format=tfds.core.FileFormat.ARRAY_RECORD
        )
        self._kept: Sequence[int] = range(len(self._data))
        if split == "train" and named and GOOD in label.names[1:]:
            raise VqadError(
                f"{spec}: '{GOOD}' is not the first name of its label, so that good images cannot "
                "be told apart; name a data set whose class 0 is the defect-free one"
            )
        if split == "train" and named and label.names[0] == GOOD:
            labels = [self._example(i)["label"] for i in self._kept]
            self._kept = [i for i in self._kept if labels[i] == 0]
            if not self._kept:
                raise VqadError(f"{spec}: no '{GOOD}' image in train; name another data set")
            if labelled and "mask" in features:
                defective = [i for i, value in enumerate(labels) if value != 0]
                self.classes, self.num_labelled = tuple(label.names), len(defective)
                self._kept += defective

    def __len__(self) -> int:
        return len(self._kept)

    def _example(self, number: int) -> dict[str, Any]:
        with reading_prepared(*self._place):
            example = self._data[number]
            for key in ("image", "mask"):
                if not isinstance(example.get(key, b""), bytes):  # None for what a cut file lacks
                    raise ValueError(f"no {key} {number}")
        return example

    def read(self, index: int) -> tuple[bytes, bytes | None, int]:
        """The encoded picture, the encoded mask (None in training) and the class id."""
        example = self._example(self._kept[index])
        if self._split == "train" and index < len(self) - self.num_labelled:
            return example["image"], None, 0
        if not 0 <= example["label"] < len(self.classes):
            raise VqadError(f"{self.path(index)}: its label names no class; prepare it again")
        return example["image"], example["mask"], int(example["label"])

    def names(self, index: int) -> str:
        """The split and the number in it."""
        return f"{self._split}[{self._kept[index]}]"

    def path(self, index: int) -> str:
        """The data set, the split and the number in it."""
        return f"{self.name}: {self.names(index)}"


def _prepared(
    spec: str, data_dir: str | None, manual_dir: str | None, allow_partial: bool
) -> tfds.core.DatasetBuilder:
    name = spec.partition(":")[2]
    check_files(name, data_dir)
    known, _, config = name.partition("/")
    if known == "surface_demo":
        return _drawn(spec, config, data_dir)
    if known in BUILDERS:
        return _public(spec, manual_dir, data_dir, allow_partial)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise VqadError(
            f"{spec}: no such TFDS data set or configuration; "
            "check the name, tfds:<name>[/<config>]"
        ) from error
    how = f"tfds.builder('{name}').download_and_prepare(file_format='array_record')"
    if not builder.is_prepared():
        folder = builder.data_path.parent
        raise VqadError(
            f"{spec}: not prepared in {folder}; prepare it by `{how}` or give another data_dir"
        )
    formats = builder.info.available_file_formats()
    if tfds.core.FileFormat.ARRAY_RECORD not in formats:
        prepared = " and ".join(sorted(known.value for known in formats))
        raise VqadError(
            f"{spec}: prepared as {prepared}, not as array_record; delete that and prepare it by "
            f"`{how}`"
        )
    return builder


def _public(
    spec: str, manual_dir: str | None, data_dir: str | None, allow_partial: bool
) -> tfds.core.DatasetBuilder:
    """A public data set, prepared now only if it is said what from: no download by surprise."""
    name = spec.partition(":")[2]
    known, _, config = name.partition("/")
    names = [each.name for each in BUILDERS[known].BUILDER_CONFIGS]
    if manual_dir is None and (config in names or not (config or names)):
        builder = BUILDERS[known](config=config or None, data_dir=data_dir)
        if not builder.is_prepared():
            raise VqadError(
                f"{spec}: not prepared in {builder.data_path.parent}; give its archive or folder "
                f"as --config.manual_dir, or run `vqad prepare {name} SRC`"
            )
    return prepare(known, config or None, manual_dir, data_dir, allow_partial)


def _drawn(spec: str, config: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """The built-in data set, drawn now if it is not there yet."""
    configs = [known.name for known in SurfaceDemo.BUILDER_CONFIGS]
    if config not in configs:
        raise VqadError(f"{spec}: no such configuration; choose {' or '.join(configs)}")
    builder = SurfaceDemo(config=config, data_dir=data_dir)
    if builder.is_prepared():
        return builder
    logger.info("drawing %s into %s", spec, builder.data_path)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS talks of a download
            builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        if not SurfaceDemo(config=config, data_dir=data_dir).is_prepared():
            raise VqadError(
                f"{spec}: cannot be written to {builder.data_path} ({error.strerror}); "
                "free space there or give another data_dir"
            ) from error
        # Another process drew the same images in the meantime.
    return SurfaceDemo(config=config, data_dir=data_dir)
