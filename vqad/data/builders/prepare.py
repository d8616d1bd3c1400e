"""Prepares a public data set from what was downloaded of it."""

import contextlib
import io
import logging
import os
import time
from pathlib import Path

import tensorflow_datasets as tfds

from vqad.data.builders.base import ALLOW_PARTIAL, FilesBuilder
from vqad.data.builders.data_sets import KolektorSdd, MagneticTile, MvtecAd, NaturalImages, Visa
from vqad.data.builders.ksdd2 import Ksdd2
from vqad.data.prepared import bucket_of, check_files, fetched, reading_prepared, send
from vqad.errors import VqadError, reason
from vqad.paths import check_local

logger = logging.getLogger(__name__)

BUILDERS: dict[str, type[FilesBuilder]] = {
    builder.name: builder
    for builder in (Ksdd2, MvtecAd, Visa, KolektorSdd, MagneticTile, NaturalImages)
}


def prepare(
    name: str,
    config: str | None = None,
    raw: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
    allow_partial: bool = False,
    fetch: bool = True,
) -> FilesBuilder:
    """Prepares a data set as `array_record`; where it is prepared already, checks only that.

    Args:
      name: One of `BUILDERS`.
      config: Its configuration; None for the default, or where there are none.
      raw: Folder or archive of the raw data. If None, what is in the `manual_dir` of TFDS
        (`<data_dir>/downloads/manual`), else what can be downloaded; neither without `fetch`.
      data_dir: Where TFDS keeps its data (TFDS_DATA_DIR); what belongs in a bucket is prepared on
        this machine and copied.
      allow_partial: Accept data that is not the whole of what was published.
      fetch: Whether to prepare it where `raw` is None.

    Raises:
      VqadError: There is no such data set, its raw data cannot be used, or it is prepared already
        from a part only or from other pictures than `raw`. Nothing is prepared then.
    """
    if name not in BUILDERS:
        raise VqadError(f"{name}: no data set with a builder; choose {', '.join(BUILDERS)}")
    if raw is not None:
        check_local(raw)
        if not str(raw):
            raise VqadError(f"{name}: the path of its raw data is empty; give archive or folder")
    config = known_config(BUILDERS[name], config)
    if bucket := bucket_of(data_dir):
        part = f"{name}/{config}" if config else name
        builder = prepare(name, config, raw, fetched(bucket, part), allow_partial, fetch)
        send(bucket, part)
        return builder
    with reading_prepared(name, data_dir):
        check_files(name, data_dir)
        how = {"raw": raw, "allow_partial": allow_partial}
        builder = BUILDERS[name](config=config, data_dir=data_dir, **how)
        full_name, folder = builder.info.full_name, builder.data_path
        prepared = builder.is_prepared()
        if prepared:
            logger.info("%s is prepared in %s", full_name, folder)
            _check_source(builder)
    if not prepared and raw is None and not fetch:
        raise VqadError(
            f"tfds:{name}: not prepared in {folder.parent}; give its archive or folder as "
            f"--config.manual_dir, or run `vqad prepare {name} SRC`"
        )
    if not prepared:
        builder = write(builder, str(builder.raw or "the manual or the download folder of TFDS"))
    if difference := builder.info.metadata.get("difference", ""):
        if not allow_partial:
            problem = f"prepared in {folder} from a part only: {difference}"
            raise VqadError(f"{full_name}: {problem}; delete that folder, or {ALLOW_PARTIAL}")
        logger.warning("%s is not whole: %s", full_name, difference)
    return builder


def _check_source(builder: FilesBuilder) -> None:
    """Refuses other raw data than a data set of no fixed content was prepared from."""
    source = Path(builder.info.metadata.get("source", ""))
    any_pictures = builder.info.metadata.get("difference", "") or not builder.expected()
    if builder.raw and any_pictures and builder.raw not in (source, source.parent):
        what = f"prepared in {builder.data_path} already, but from {source}"
        advice = "delete that folder or give another data_dir"
        raise VqadError(f"{builder.info.full_name}: {what}; {advice}")


def write(builder: tfds.core.DatasetBuilder, origin: str) -> tfds.core.DatasetBuilder:
    """Writes a data set as `array_record`, unless another process does so meanwhile."""
    name, folder, start = builder.info.full_name, builder.data_path, time.monotonic()
    logger.info("preparing %s from %s in %s", name, origin, folder)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS talks of a download
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
                file_format=tfds.core.FileFormat.ARRAY_RECORD,
            )
        failure = "the folder is there, but no data set in it"  # TFDS passes over that
    except OSError as error:
        failure = reason(error)
    config = builder.builder_config and builder.builder_config.name
    builder = type(builder)(config=config, data_dir=builder.data_dir_root)
    if not builder.is_prepared():
        why = f"cannot be written to {folder} ({failure})"
        raise VqadError(f"{name}: {why}; make room there or give another data_dir")
    counts = ", ".join(f"{split.num_examples} {key}" for key, split in builder.info.splits.items())
    logger.info("prepared %s: %s images in %.0f s", name, counts, time.monotonic() - start)
    return builder


def known_config(builder_type: type[tfds.core.DatasetBuilder], config: str | None) -> str | None:
    """The name of a configuration, or of the default one; None if there are none."""
    config = config or builder_type.DEFAULT_BUILDER_CONFIG_NAME
    plain = builder_type.name
    name = f"{plain}/{config}" if config else plain
    known = [f"{plain}/{each.name}" for each in builder_type.BUILDER_CONFIGS] or [plain]
    if name not in known:
        raise VqadError(f"{name}: no such configuration; choose {', '.join(known)}")
    return config
