"""Where images come from, by name: a folder or a prepared TFDS data set."""

import os
from typing import Any

from vqad.data.checks import examine_split
from vqad.data.findings import Finding, act_on
from vqad.data.folders import FolderSource
from vqad.data.layouts import Split
from vqad.data.numbers import ValueRange
from vqad.data.source import CACHE_BYTES, Source
from vqad.data.tfds_installed import check_tfds_installed
from vqad.errors import VqadError
from vqad.paths import check_reachable

TFDS_PREFIX = "tfds:"


def find_source(
    spec: str,
    split: Split,
    *,
    labelled: bool = False,
    tree: bool = False,
    follow_links: bool = False,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    allow_partial: bool = False,
    value_range: ValueRange | None = None,
) -> Source:
    """Lists the images that `spec` names, without looking into them.

    Args:
      spec: The path of a folder, also gs://, or `tfds:<name>[/<config>]` for a prepared TFDS data
        set; `tfds:surface_demo/tiles` and `tfds:surface_demo/pictures` are drawn where missing.
      split: 'train', or 'test' for images with masks, labels and classes.
      labelled: Whether labelled defects to train with are to come after the good images.
      tree: Whether a folder may be any tree of pictures, however its folders are called.
      follow_links: Whether links in a folder are followed, wherever they lead.
      data_dir: Where TFDS keeps its data (TFDS_DATA_DIR).
      manual_dir: What a public data set (`vqad.data.builders`) that is missing is prepared from.
      allow_partial: Whether that may be less or more than what was published.
      value_range: The numbers of black and white of pictures of more than 8 bits; see `decode`.

    Raises:
      VqadError: There is no such data, or TFDS is not installed and it is TFDS's.
      NoTestSplit: There is nothing to test on.
    """
    spec = os.path.expanduser(spec)
    data_dir, manual_dir = (
        os.path.expanduser(each) if each else each for each in (data_dir, manual_dir)
    )
    if not spec:
        raise VqadError("data: no source given; give a folder or tfds:<name>[/<config>]")
    if spec.startswith(TFDS_PREFIX):
        check_tfds_installed(spec)
        from vqad.data.tfds_source import TfdsSource  # imports TFDS, slow, and array_record

        source: Source = TfdsSource(spec, split, labelled, data_dir, manual_dir, allow_partial)
    else:
        check_reachable(spec)
        source = FolderSource(spec, split, labelled, tree, follow_links)
    source.value_range = value_range
    return source


def open_source(
    spec: str,
    split: Split,
    image_size: tuple[int, int] | None,
    *,
    cache_bytes: int = CACHE_BYTES,
    told: set[Finding] | None = None,
    **how: Any,
) -> Source:
    """Opens the images that `spec` names and checks them, as `vqad doctor` does, but quickly.

    They are resized to the height and width `image_size`, unless that is None, and kept in memory
    up to `cache_bytes`; `how` and errors are as of `find_source`. What is left out is logged, but
    for what was `told` already, which gets that.
    """
    source = find_source(spec, split, **how)
    act_on(examine_split(source, quick=True).findings, spec, told)
    return source.keep(image_size, cache_bytes)
