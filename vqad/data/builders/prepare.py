"""Prepares a public data set from what was downloaded of it."""

import contextlib
import io
import logging
import os
import time
from pathlib import Path

import tensorflow_datasets as tfds

from vqad.data.builders.base import ALLOW_PARTIAL, FilesBuilder
from vqad.data.builders.kolektor_sdd import KolektorSdd
from vqad.data.builders.ksdd2 import Ksdd2
from vqad.data.builders.magnetic_tile import MagneticTile
from vqad.data.builders.mvtec_ad import MvtecAd
from vqad.data.builders.natural_images import NaturalImages
from vqad.data.builders.visa import Visa
from vqad.data.mirror import bucket_of, fetched, send
from vqad.data.prepared import check_files, reading_prepared
from vqad.errors import VqadError
from vqad.paths import check_local

logger = logging.getLogger(__name__)

BUILDERS: dict[str, type[FilesBuilder]] = {
    builder.name: builder
    for builder in (Ksdd2, MvtecAd, Visa, KolektorSdd, MagneticTile, NaturalImages)
}


def builder_class(name: str) -> type[FilesBuilder]:
    """The builder of the data set `name`.

    Raises:
      VqadError: There is none.
    """
    if name not in BUILDERS:
        raise VqadError(f"{name}: no data set with a builder; choose {', '.join(BUILDERS)}")
    return BUILDERS[name]


def prepare(
    name: str,
    config: str | None = None,
    raw: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
    allow_partial: bool = False,
) -> FilesBuilder:
    """Prepares a data set as `array_record`; where it is prepared already, checks only that.

    Args:
      name: One of `BUILDERS`.
      config: Its configuration; may be None where there is a default or none.
      raw: The folder or the archive of the raw data. If None, what is in the `manual_dir` of TFDS
        (`<data_dir>/downloads/manual`), else what can be downloaded.
      data_dir: Where TFDS keeps its data; its own default (TFDS_DATA_DIR) if None. For a remote
        one it is prepared on this machine and copied.
      allow_partial: Accept data that is not the whole of what was published.

    Returns:
      The builder, prepared.

    Raises:
      VqadError: There is no such data set, or its raw data is missing, damaged, not in its layout
        or, without `allow_partial`, not whole; or it is prepared already, but from a part only or
        from other pictures than `raw`. Nothing is prepared then.
    """
    builder_type = builder_class(name)
    if raw is not None and not str(raw):
        raise VqadError(f"{name}: the path of its raw data is empty; give its archive or folder")
    if raw is not None:
        check_local(raw)
    config = _checked_config(builder_type, config)
    if bucket := bucket_of(data_dir):
        part = f"{name}/{config}" if config else name
        builder = prepare(name, config, raw, fetched(bucket, part), allow_partial)
        send(bucket, part)
        return builder
    with reading_prepared(name, data_dir):
        check_files(name, data_dir)
        builder = builder_type(
            config=config, data_dir=data_dir, raw=raw, allow_partial=allow_partial
        )
        prepared = builder.is_prepared()
        if prepared:
            _check_prepared(builder, allow_partial)
    if prepared:
        logger.info("%s is prepared in %s", builder.info.full_name, builder.data_path)
        return builder
    origin = builder.raw or "the manual or the download folder of TFDS"
    logger.info("preparing %s from %s in %s", builder.info.full_name, origin, builder.data_path)
    start = time.monotonic()
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS talks of a download
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
                file_format=tfds.core.FileFormat.ARRAY_RECORD,
            )
        failure = "the folder is there, but no data set in it"  # TFDS passes over that
    except OSError as error:
        failure = str(error.strerror or error)  # or another process was faster
    builder = builder_type(config=config, data_dir=data_dir)
    if not builder.is_prepared():
        raise VqadError(
            f"{builder.info.full_name}: cannot be written to {builder.data_path} ({failure}); "
            "make room there or give another data_dir"
        )
    if difference := builder.info.metadata["difference"]:
        logger.warning("%s is not whole: %s", builder.info.full_name, difference)
    counts = ", ".join(f"{split.num_examples} {key}" for key, split in builder.info.splits.items())
    seconds = time.monotonic() - start
    logger.info("prepared %s: %s images in %.0f s", builder.info.full_name, counts, seconds)
    return builder


def _checked_config(builder_type: type[FilesBuilder], config: str | None) -> str | None:
    names = [known.name for known in builder_type.BUILDER_CONFIGS]
    config = config or builder_type.DEFAULT_BUILDER_CONFIG_NAME
    if config in names or (config is None and not names):
        return config
    if not names:
        raise VqadError(f"{builder_type.name}/{config}: has no configurations; leave it out")
    choice = ", ".join(f"{builder_type.name}/{known}" for known in names)
    problem = "no such configuration" if config else "needs a configuration"
    name = f"{builder_type.name}/{config}" if config else builder_type.name
    raise VqadError(f"{name}: {problem}; choose {choice}")


def _check_prepared(builder: FilesBuilder, allow_partial: bool) -> None:
    name, folder = builder.info.full_name, builder.data_path
    difference = builder.info.metadata.get("difference", "")
    source = Path(builder.info.metadata.get("source", ""))
    if difference and not allow_partial:
        raise VqadError(
            f"{name}: prepared in {folder} from a part only: {difference}; "
            f"delete that folder, or {ALLOW_PARTIAL}"
        )
    any_pictures = difference or not builder.expected()
    if builder.raw and any_pictures and builder.raw not in (source, source.parent):
        raise VqadError(
            f"{name}: prepared in {folder} already, but from {source}; "
            "delete that folder or give another data_dir"
        )
    if difference:
        logger.warning("%s is not whole: %s", name, difference)
