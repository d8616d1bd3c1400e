"""The page of `vqad demo`: what it answers is what a detector says, and what it refuses."""

import dataclasses
import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile

import jax
import numpy as np
import pytest
from command_line import environment
from jax import monitoring
from PIL import Image
from small_model import write_calibrated_model

import vqad
from vqad.cli import main
from vqad.commands.demo import viewer
from vqad.prediction import thresholds
from vqad.prediction.pictures import overlay


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_calibrated_model(tmp_path_factory.mktemp("model") / "weights")


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    """A page's address, and the folder where Gradio keeps pictures; at the end it is ended."""
    pytest.importorskip("gradio_client", reason="needs Gradio: pip install -e '.[demo]'")
    kept = tmp_path_factory.mktemp("gradio")
    process = subprocess.Popen(
        [sys.executable, "-m", "vqad", "demo", str(folder), f"--port={free_port()}"],
        env=environment(GRADIO_TEMP_DIR=str(kept)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    if not line.startswith("http"):
        process.kill()
        pytest.fail(process.stderr.read())
    yield line.split()[0], kept
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0, told
    assert "KeyboardInterrupt" not in told
    assert [path for path in kept.rglob("*") if path.is_file()] == []


@pytest.fixture(scope="module")
def look(server):
    from gradio_client import Client, handle_file

    client = Client(server[0], verbose=False, analytics_enabled=False)
    return lambda path: client.predict(handle_file(str(path)), api_name="/look")


def write(path, shape, seed=0):
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("shape", [(32, 32, 3), (50, 41)])
def test_it_says_what_the_detector_says(look, folder, tmp_path, shape):
    path = write(tmp_path / "picture.png", shape)
    score, verdict, *pictures = look(path)
    drawn, mask, general, specific = (np.asarray(Image.open(picture)) for picture in pictures)
    detector = vqad.load(folder)
    found = detector.predict(path)
    # The other process has another number of devices, and so other threads and sums.
    assert score == pytest.approx(float(found.scores), rel=1e-4)
    assert verdict.split()[0] == ("defective" if found.verdicts else "good")
    assert f"{detector.thresholds.score:.6g}" in verdict
    image = np.asarray(Image.open(path).convert("RGB"))
    assert drawn.shape == image.shape
    assert mask.shape == image.shape[:2]
    np.testing.assert_allclose(mask, 255 * found.masks, atol=1)
    expected = overlay(image, found.masks, found.marks)
    assert (np.abs(drawn.astype(int) - expected) <= 1).mean() > 0.99
    for shown, reconstructed in zip((general, specific), detector.reconstruct(path), strict=True):
        assert reconstructed.std() > 0
        np.testing.assert_allclose(shown, reconstructed, atol=1)


def test_thresholds_of_tiles_give_no_verdict_and_that_is_told(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    limits = vqad.load(copy).thresholds
    thresholds.write(str(copy), dataclasses.replace(limits, tiled=True, overlap=8))
    path = write(tmp_path / "picture.png", (32, 32, 3))
    detector = vqad.load(copy)
    assert viewer(detector)(str(path))[1].startswith("none: the thresholds are of")
    detector.thresholds = None
    assert "vqad calibrate sets them" in viewer(detector)(str(path))[1]


def test_the_page_compiles_one_program(folder):
    detector = vqad.load(folder)
    image = np.zeros((32, 32, 3), np.uint8)
    detector.predict(image)
    compiled = []

    def listen(event, duration, **_):
        compiled.append(event)

    monitoring.register_event_duration_secs_listener(listen)
    try:
        detector.reconstruct(image)
    finally:
        monitoring.unregister_event_duration_listener(listen)
    assert "/jax/core/compile/backend_compile_duration" not in compiled


def test_reconstructions_are_those_of_the_whole_network(folder):
    network = vqad.load(folder)
    image = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = jax.jit(network.model.apply)(network.variables, image[None] / np.float32(255))
    assert network.image_size == (32, 32)
    for shown, name in zip(network.reconstruct(image), ("general", "specific"), strict=True):
        assert shown.dtype == np.uint8
        np.testing.assert_allclose(shown, 255 * np.clip(getattr(found, name)[0], 0, 1), atol=0.51)


def test_what_is_no_picture_is_told_in_one_line(look, tmp_path):
    from gradio_client.exceptions import AppError

    text = tmp_path / "notes.png"
    text.write_text("not a picture")
    cut = write(tmp_path / "cut.png", (64, 64, 3))
    cut.write_bytes(cut.read_bytes()[:5000])
    for path in (text, cut):
        with pytest.raises(AppError) as refused:
            look(path)
        assert str(refused.value).startswith(f"{path.name}: ")
    assert look(write(tmp_path / "whole.png", (64, 64, 3)))[0] > 0


def test_files_of_the_server_are_not_read(server, tmp_path):
    """Only what was uploaded is: a path of the server's in a request is refused."""
    path = write(tmp_path / "secret.png", (32, 32, 3))
    data = [{"path": str(path), "meta": {"_type": "gradio.FileData"}}]
    request = urllib.request.Request(
        f"{server[0]}/gradio_api/call/look",
        json.dumps({"data": data}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{server[0]}/gradio_api/call/look/{event}") as answer:
        told = answer.read().decode()
    assert "event: error" in told
    assert "complete" not in told


def test_the_page_names_no_other_host(server):
    with urllib.request.urlopen(server[0]) as answer:
        page = answer.read().decode()
    assert "fonts.googleapis.com" not in page
    with urllib.request.urlopen(f"{server[0]}/config") as answer:
        config = json.load(answer)
    assert config["analytics_enabled"] is False
    assert config["is_colab"] is False
    assert all("http" not in sheet for sheet in config["stylesheets"])


def test_bad_arguments(folder, capsys):
    assert main(["demo", str(folder), "--port=0"]) == 2
    assert "--port=0: must be between 1 and 65535" in capsys.readouterr().err


def test_where_it_cannot_listen(folder, capsys):
    pytest.importorskip("gradio", reason="needs Gradio: pip install -e '.[demo]'")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["demo", str(folder), f"--port={port}"]) == 2
    assert f"--port={port}: cannot listen there" in capsys.readouterr().err
    assert main(["demo", str(folder), "--host=nowhere.invalid"]) == 2
    assert "--host=nowhere.invalid" in capsys.readouterr().err


def test_without_a_model(tmp_path, capsys):
    pytest.importorskip("gradio", reason="needs Gradio: pip install -e '.[demo]'")
    assert main(["demo", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    export = tmp_path / "model.stablehlo"
    with zipfile.ZipFile(export, "w") as archive:
        archive.writestr("program", b"")
    assert main(["demo", str(export)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{export}: neither a folder nor an export of vqad" in line


def test_without_gradio(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'vqad[demo]'" in line
