"""TFDS's own test of a builder, with or without TensorFlow.

`tfds.testing.DatasetBuilderTestCase` needs TensorFlow to be imported and to read what was prepared.
Where there is none, its modules get a stand-in of the few names they use and the examples are
read with `as_data_source`; the rest of the test is TFDS's.
"""

import contextlib
import importlib.util
import itertools
import tempfile
from types import SimpleNamespace
from unittest import mock

import numpy as np
import tensorflow_datasets as tfds
import tree
from absl.testing import absltest
from tensorflow_datasets.core.utils import lazy_imports_utils

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


class _Stand:
    """The part of TensorFlow that the test case uses besides reading."""

    eager = True
    dtypes = SimpleNamespace(DType=type)
    data = SimpleNamespace(Dataset=type("Dataset", (), {}))
    nest = SimpleNamespace(map_structure=tree.map_structure)
    RaggedTensor = type("RaggedTensor", (), {})

    class TestCase(absltest.TestCase):
        @property  # a method of this name would be collected as a test
        def test_session(self):
            return lambda **_: contextlib.nullcontext()

    test = SimpleNamespace(TestCase=TestCase)
    compat = SimpleNamespace(
        v1=SimpleNamespace(
            test=SimpleNamespace(get_temp_dir=tempfile.gettempdir),
            ragged=SimpleNamespace(RaggedTensorValue=RaggedTensor),
        )
    )

    def executing_eagerly(self):
        return self.eager

    def Graph(self):
        return self

    @contextlib.contextmanager
    def as_default(self):
        with mock.patch.object(self, "eager", False):
            yield


if HAS_TENSORFLOW:
    _TestCase = tfds.testing.DatasetBuilderTestCase
else:
    # Only modules imported here see the stand-in: all of tensorflow_datasets.core is imported.
    with mock.patch.object(lazy_imports_utils, "tensorflow", _Stand()):
        _TestCase = tfds.testing.DatasetBuilderTestCase
        from tensorflow_datasets.testing.dataset_builder_testing import checksum


class BuilderTestCase(_TestCase):
    """Of a subclass of FilesBuilder; `write_raw` writes its raw data."""

    write_raw = None

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.EXAMPLE_DIR = folder.name
        cls.write_raw(folder.name)
        super().setUpClass()

    def _make_builder(self, config=None):
        return self.dataset_class(
            data_dir=self.tmp_dir,
            config=config,
            allow_partial=True,
            file_format="tfrecord" if HAS_TENSORFLOW else None,
        )

    if not HAS_TENSORFLOW:

        def _assertAsDataset(self, builder):
            seen = {}
            for split, number in self.SPLITS.items():
                examples = list(builder.as_data_source(split))
                self.assertLen(examples, number)
                for example in examples:
                    self.check_shapes_and_types(builder.info.features.get_tensor_info(), example)
                seen[split] = {checksum(example) for example in examples}
            for one, other in itertools.combinations(seen.values(), 2):
                self.assertEmpty(one & other)

        def check_shapes_and_types(self, expected, example):
            self.assertEqual(expected.keys(), example.keys())
            for key, info in expected.items():
                value = np.asarray(example[key])
                self.assertLen(value.shape, len(info.shape))
                for size, wanted in zip(value.shape, info.shape, strict=True):
                    self.assertIn(wanted, (None, size))
                if np.issubdtype(info.np_dtype, np.object_):
                    self.assertIsInstance(example[key], bytes)
                else:
                    self.assertEqual(value.dtype, info.np_dtype)
