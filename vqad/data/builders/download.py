"""Downloads whose SHA-256 nobody published: recorded the first time, compared ever after."""

import logging
from pathlib import Path

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.resource import get_info_path

from vqad.data.builders.files import is_archive
from vqad.errors import VqadError, reason

logger = logging.getLogger(__name__)

RECORD = "checksums.tsv"  # in the download folder: the package's own may be read-only


def download_archive(dl_manager: tfds.download.DownloadManager, url: str) -> Path:
    """The path of a zip or a tar, which is downloaded once, through the cache of TFDS.

    Raises a VqadError if it cannot be, or is no archive or another one than the first time.
    """
    try:
        path = Path(dl_manager.download(url))
    except (OSError, ValueError, tfds.download.DownloadError, NonMatchingChecksumError) as error:
        # OSError is of requests too; ValueError: another file than its .INFO in the cache tells of
        what = f"cannot be downloaded ({reason(error)})"
        raise VqadError(f"{url}: {what}; get it otherwise and give its path") from error
    if not is_archive(path):
        _forget(path)
        raise VqadError(f"{url}: gave no archive; try again later, or get it and give its path")
    record = dl_manager.download_dir / RECORD
    known = checksums.load_url_infos(record) if record.exists() else {}
    info = checksums.compute_url_info(path)
    if url not in known:
        checksums.save_url_infos(record, {url: info})
        what = f"SHA-256 {info.checksum}, {int(info.size)} bytes; not verified, none is known here"
        logger.warning("%s: %s. Recorded in %s; later downloads must equal it", url, what, record)
    elif known[url].checksum != info.checksum:
        _forget(path)
        raise VqadError(
            f"{url}: SHA-256 is {info.checksum}, but {known[url].checksum} was recorded in {record}"
            "; try again, or delete that line if the publisher did change the archive"
        )
    return path


def _forget(path: Path) -> None:
    """Takes a download out of the cache of TFDS, or it would be used the next time."""
    path.unlink()
    Path(get_info_path(path)).unlink()
