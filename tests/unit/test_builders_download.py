import hashlib
import http.server
import shutil
import threading
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from raw_data import write_ksdd2, write_picture
from tensorflow_datasets.core.download import downloader

from vqad.data.builders import Ksdd2, prepare
from vqad.errors import VqadError


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        if self.path == "/kolektorsdd2":  # as the short address does
            self.send_response(301)
            self.send_header("Location", "/datasets/KolektorSDD2.zip")
            self.end_headers()
            return
        self.send_response(200 if self.server.data else 404)
        self.send_header("Content-Length", str(len(self.server.data)))
        self.end_headers()
        self.wfile.write(self.server.data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves `server.data` where KolektorSDD2 is downloaded from."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = 0
    server.data = zipped(tmp_path)
    monkeypatch.setattr(Ksdd2, "URL", f"http://127.0.0.1:{server.server_port}/kolektorsdd2")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def zipped(tmp_path, **changes):
    shutil.rmtree(tmp_path / "raw", ignore_errors=True)
    write_ksdd2(tmp_path / "raw", **changes)
    return Path(shutil.make_archive(str(tmp_path / "raw"), "zip", tmp_path / "raw")).read_bytes()


def prepared(tmp_path, config="unsupervised"):
    return prepare("ksdd2", config, None, tmp_path / "tfds", allow_partial=True)


def downloads(tmp_path):
    return list((tmp_path / "tfds/downloads/ksdd2").glob("*kolektorsdd2*"))


def test_first_download_is_recorded_and_the_cache_used_after(server, tmp_path, caplog):
    builder = prepared(tmp_path)
    assert builder.info.splits["test"].num_examples == 2
    checksum = hashlib.sha256(server.data).hexdigest()
    record = tmp_path / "tfds/downloads/checksums.tsv"
    assert record.read_text().startswith(f"{Ksdd2.URL}\t{len(server.data)}\t{checksum}\t")
    assert f"SHA-256 {checksum}, {len(server.data)} bytes; not verified" in caplog.text
    requests = server.requests
    caplog.clear()
    prepared(tmp_path, "supervised_16")
    assert server.requests == requests
    assert "not verified" not in caplog.text


def test_another_archive_than_the_first_time_is_refused(server, tmp_path):
    prepared(tmp_path)
    first, server.data = server.data, zipped(tmp_path, test=(20000, 20001))
    archive, info = sorted(downloads(tmp_path))
    archive.unlink()
    with pytest.raises(
        VqadError, match='INFO" contains a different "url_info" than the downloaded'
    ):
        prepared(tmp_path, "supervised_16")
    info.unlink()
    with pytest.raises(VqadError, match=r"SHA-256 is \w+, but \w+ was recorded in .*checksums.tsv"):
        prepared(tmp_path, "supervised_16")
    server.data = first
    assert prepared(tmp_path, "supervised_16").info.splits["test"].num_examples == 2


def test_what_is_no_archive_is_not_kept(server, tmp_path):
    archive, server.data = server.data, b"<html>Please log in</html>"
    with pytest.raises(VqadError, match=r"/kolektorsdd2: gave no archive; try again later, or get"):
        prepared(tmp_path)
    assert not (tmp_path / "tfds/downloads/checksums.tsv").exists()
    server.data = archive
    assert prepared(tmp_path).info.splits["test"].num_examples == 2


def test_failing_download_is_one_line(server, tmp_path, monkeypatch):
    def message():
        with pytest.raises(VqadError) as error:
            prepared(tmp_path)
        assert "\n" not in str(error.value)
        return str(error.value)

    server.data = b""
    assert message().startswith(f"{Ksdd2.URL}: cannot be downloaded (Failed to get url")
    monkeypatch.setattr(downloader, "MAX_RETRIES", 0)
    monkeypatch.setattr(Ksdd2, "URL", "http://127.0.0.1:1/kolektorsdd2")
    assert message().endswith("; get it otherwise and give its path")
    assert not Ksdd2(data_dir=tmp_path / "tfds").is_prepared()


def prepared_by_tfds(tmp_path, manual_dir=None):
    tfds.disable_progress_bar()
    builder = tfds.builder("ksdd2", data_dir=tmp_path / "tfds", allow_partial=True)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    builder.download_and_prepare(download_config=config)
    return builder


@pytest.mark.parametrize("inside", ["", "KolektorSDD2", "KolektorSDD2.zip"])
def test_manual_dir_goes_before_a_download(inside, server, tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    if inside.endswith(".zip"):
        (manual / inside).write_bytes(server.data)
        (manual / "mvtec_anomaly_detection.tar.xz").write_bytes(b"")
    else:
        shutil.copytree(tmp_path / "raw", manual / inside, dirs_exist_ok=True)
    assert prepared_by_tfds(tmp_path, manual).info.splits["train"].num_examples == 2
    assert server.requests == 0


def test_manual_dir_of_other_data_sets_does_not_prevent_a_download(server, tmp_path):
    write_picture(tmp_path / "tfds/downloads/manual/other/picture.png")
    assert prepared_by_tfds(tmp_path).info.splits["train"].num_examples == 2
    assert server.requests > 0


def test_damaged_archive_in_manual_dir_is_not_replaced_by_a_download(server, tmp_path):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual/KolektorSDD2.zip").write_bytes(server.data[:-50])
    with pytest.raises(VqadError, match=r"KolektorSDD2\.zip: neither a zip nor a tar, or not"):
        prepared_by_tfds(tmp_path, tmp_path / "manual")
    assert server.requests == 0
