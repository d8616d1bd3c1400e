"""Prepared TFDS data sets as images at random access, read without TensorFlow."""

import re
from typing import Any

import tensorflow_datasets as tfds

from vqad.data.builders.prepare import BUILDERS, known_config, prepare, write
from vqad.data.findings import NoTestSplit
from vqad.data.layouts import GOOD, Split
from vqad.data.prepared import check_files, fetched, reading_prepared
from vqad.data.source import Source
from vqad.data.surface_demo.builder import SurfaceDemo
from vqad.errors import VqadError


class TfdsSource(Source):
    """One split of a TFDS data set; pictures stay encoded until they are wanted.

    Training needs the feature `image`; testing also `mask` and `label`, a ClassLabel whose first
    name is 'good'. Of a training split with such a label the defective images are left out, unless
    `labelled` asks for them, after the good ones; they must have masks then. Labels without a class
    'good' are not looked at, as in pictures of anything. What is remote is copied to this machine.
    Arguments and errors are those of `vqad.data.sources.find_source`.
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
        super().__init__(spec, split)
        self.layout = "prepared by TFDS"
        name = spec.partition(":")[2]
        # With a namespace before the name, TFDS would load data and code from elsewhere.
        if not re.fullmatch(r"\w+(/[\w.+-]+)?(:[\d.*]+)?", name, re.ASCII):
            raise VqadError(f"{spec}: not the name of a data set; give tfds:<name>[/<config>]")
        data_dir = fetched(data_dir, name)
        self._place = name, data_dir
        with reading_prepared(*self._place):
            self._open(_prepared(name, data_dir, manual_dir, allow_partial), labelled)

    def _open(self, builder: tfds.core.DatasetBuilder, labelled: bool) -> None:
        spec, split, features = self.name, self.split, builder.info.features
        lacking = NoTestSplit if split == "test" else VqadError
        if split not in builder.info.splits:
            there = ", ".join(builder.info.splits)
            raise lacking(f"{spec}: no split '{split}', only {there}; name another data set")
        wanted = ("image",) if split == "train" else ("image", "mask", "label")
        if missing := [key for key in wanted if key not in features]:
            what = f"has no feature {' or '.join(missing)}, needed to {split}"
            raise lacking(f"{spec}: {what}; name another data set")
        label = dict(features.items()).get("label")
        names = label.names if isinstance(label, tfds.features.ClassLabel) else []
        if names[:1] != [GOOD] and (split == "test" or GOOD in names):
            what = f"the first class of its label is {names[:1]}, not '{GOOD}'"
            raise VqadError(f"{spec}: {what}; name a data set whose class 0 is the good one")
        skip = {key: tfds.decode.SkipDecoding() for key in ("image", "mask") if key in features}
        self._data: Any = builder.as_data_source(
            split=split, decoders=skip, file_format=tfds.core.FileFormat.ARRAY_RECORD
        )
        self.entries = range(len(self._data))
        if split == "test":
            self.classes = tuple(names)
        elif names[:1] == [GOOD]:
            labels = [self._example(i)["label"] for i in self.entries]
            good = [i for i in self.entries if labels[i] == 0]
            if not good:
                raise VqadError(f"{spec}: no '{GOOD}' image in train; name another data set")
            defective = [i for i in self.entries if labels[i] != 0]
            if labelled and "mask" in features:
                self.classes, self.num_labelled = tuple(names), len(defective)
            self.entries = good + defective[: self.num_labelled]

    def _example(self, number: int) -> dict[str, Any]:
        with reading_prepared(*self._place):
            example = self._data[number]
            for key in ("image", "mask"):
                if not isinstance(example.get(key, b""), bytes):  # None for what a cut file lacks
                    raise ValueError(f"no {key} {number}")
        return example

    def read(self, index: int) -> tuple[bytes, tuple[bytes, ...], int]:
        """The encoded picture, the encoded mask (none for good ones to train with), the class."""
        example = self._example(self.entries[index])
        if self.split == "train" and index < len(self) - self.num_labelled:
            return example["image"], (), 0
        if not 0 <= example["label"] < len(self.classes):
            raise VqadError(f"{self.path(index)}: its label names no class; prepare it again")
        return example["image"], (example["mask"],), int(example["label"])

    def names(self, index: int) -> str:
        """The split and the number in it."""
        return f"{self.split}[{self.entries[index]}]"


def _prepared(
    name: str, data_dir: str | None, manual_dir: str | None, allow_partial: bool
) -> tfds.core.DatasetBuilder:
    check_files(name, data_dir)
    known, _, config = name.partition("/")
    if known == SurfaceDemo.name:
        builder = SurfaceDemo(config=known_config(SurfaceDemo, config), data_dir=data_dir)
        return builder if builder.is_prepared() else write(builder, "drawings")
    if known in BUILDERS:  # no download by surprise
        return prepare(known, config or None, manual_dir, data_dir, allow_partial, fetch=False)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        what = "no such TFDS data set or configuration"
        raise VqadError(f"tfds:{name}: {what}; check tfds:<name>[/<config>]") from error
    problem = f"not prepared in {builder.data_path.parent}"
    if builder.is_prepared():
        formats = builder.info.available_file_formats()
        if tfds.core.FileFormat.ARRAY_RECORD in formats:
            return builder
        found = " and ".join(sorted(known.value for known in formats))
        problem = f"prepared as {found}, not as array_record; delete that, or give another data_dir"
    how = f"tfds.builder('{name}').download_and_prepare(file_format='array_record')"
    raise VqadError(f"tfds:{name}: {problem}; prepare it by `{how}`")
