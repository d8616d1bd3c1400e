"""ONNX exports, their use without vqad, and the table of runtimes."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import environment
from PIL import Image
from sklearn.metrics import roc_auc_score
from small_model import noise, write_calibrated_model

import vqad
from vqad.cli import main
from vqad.data.formats import EXIF_ORIENTATION
from vqad.errors import VqadError
from vqad.interop import benchmark, runtimes
from vqad.interop.export import onnx

pytest.importorskip("jax2onnx")
pytest.importorskip("onnxruntime")

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_alone.py"
# What the example must do without.
ALONE = """
import runpy, sys
sys.modules.update(dict.fromkeys(["vqad", "jax", "jaxlib", "flax", "onnx", "jax2onnx", "torch"]))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_calibrated_model(tmp_path_factory.mktemp("model") / "weights", lively=True)


@pytest.fixture(scope="module")
def path(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "model.onnx"
    assert main(["export", folder, str(path), "--format=onnx"]) == 0
    return path


def test_batches_of_any_size_say_what_the_model_says(path, folder):
    import onnx as format

    format.checker.check_model(str(path), full_check=True)
    predict, description = onnx.open_export(str(path))
    detector = vqad.load(folder)
    images = noise(8)
    ours, theirs = detector.predict(images), predict(images)
    np.testing.assert_allclose(theirs["mask"], ours.masks, atol=1e-4)
    np.testing.assert_allclose(theirs["score"], ours.scores, atol=1e-4)
    np.testing.assert_array_equal(theirs["verdict"], ours.verdicts)
    for size in (1, 3):
        part = predict(images[:size])
        np.testing.assert_allclose(part["mask"], theirs["mask"][:size], atol=1e-5)
        assert part["marks"].dtype == part["verdict"].dtype == bool
    assert description.limits == detector.thresholds
    found = description.metadata["check"]["found"]
    assert found["images"] == 10
    assert found["mask_difference_same_codes"] <= 1e-4


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino-bf16"])
def test_thresholds_are_those_of_the_runtime_that_it_is_for(runtime, folder, tmp_path, capsys):
    if runtime.startswith("openvino"):
        pytest.importorskip("openvino")
    if runtime == "openvino-bf16" and not runtimes.cpu_has_bfloat16():
        pytest.skip("this CPU has no bfloat16")
    for i, image in enumerate(noise(9, seed=1)):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    path = tmp_path / "model.onnx"
    command = ["export", folder, str(path), "--format=onnx", f"--for={runtime}"]
    assert main([*command, "--good", str(tmp_path)]) == 0
    assert f"written: {path}" in capsys.readouterr().out
    found = runtimes.open_in(runtime, str(path))(noise(9, seed=1))
    description = onnx.open_export(str(path))[1]
    limits = description.limits
    # Of nine good images three in ten may be called defective; k = ceil(10 * 0.7).
    assert limits.score == np.sort(found["score"])[6]
    assert limits.images == 9
    assert limits.rate == 0.3
    np.testing.assert_array_equal(found["verdict"], found["score"] > np.float32(limits.score))
    assert description.metadata["runtime"] == runtime


def test_thresholds_of_a_runtime_need_good_images(folder, tmp_path, capsys):
    path = str(tmp_path / "model.onnx")
    assert main(["export", folder, path, "--format=onnx", "--for=onnxruntime"]) == 2
    assert "--good" in capsys.readouterr().err
    other = str(tmp_path / "model.stablehlo")
    assert main(["export", folder, other, "--format=stablehlo", "--for=onnxruntime"]) == 2
    assert "onnx" in capsys.readouterr().err


def run_example(path, folder):
    line = [sys.executable, "-c", ALONE, str(EXAMPLE), str(path), str(folder), "--batch=3"]
    return subprocess.run(line, env=environment(PYTHONPATH=""), capture_output=True, text=True)


def test_it_is_evaluated_without_this_package(path, folder, tmp_path):
    images = noise(8)
    for i, image in enumerate(images):
        file = tmp_path / "test" / ("good" if i % 3 else "scratch") / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(image).resize((40, 36))
        if i == 0:  # grey of 16 bits
            picture = Image.fromarray(257 * np.asarray(picture.convert("L"), np.uint16))
        exif = picture.getexif()
        exif[EXIF_ORIENTATION] = 6 if i == 1 else 1  # turned by a quarter
        picture.save(file, exif=exif)
    done = run_example(path, tmp_path / "test")
    assert done.returncode == 0, done.stderr
    *rows, last = done.stdout.splitlines()
    files = sorted((tmp_path / "test").rglob("*.png"))
    ours = vqad.load(folder).predict(files)
    for row, file, score, bad in zip(rows, files, ours.scores, ours.verdicts, strict=True):
        name, said, verdict = row.split()
        assert name == f"{file.parent.name}/{file.name}"
        assert float(said) == pytest.approx(score, abs=1e-4)
        assert verdict == ("defective" if bad else "good")
    said = [float(row.split()[1]) for row in rows]
    wanted = roc_auc_score([file.parent.name != "good" for file in files], said)
    assert float(last.removeprefix("image AUROC ")) == pytest.approx(wanted, abs=1e-3)


def test_without_this_package_broken_pictures_are_skipped(path, tmp_path):
    pictures = tmp_path / "pictures"
    (pictures / ".hidden").mkdir(parents=True)
    for i, image in enumerate(noise(2)):
        Image.fromarray(image).save(pictures / f"{i}.png")
    for name in ("._0.png", ".hidden/0.png", "a.png", "b.png", "c.png"):
        (pictures / name).write_bytes((pictures / "0.png").read_bytes()[:200])
    done = run_example(path, pictures)
    assert done.returncode == 1
    assert [row.split()[0] for row in done.stdout.splitlines()] == ["0.png", "1.png"]
    told = done.stderr.splitlines()
    assert [line.partition(": skipped, ")[0] for line in told] == [
        str(pictures / name) for name in ("a.png", "b.png", "c.png")
    ]


def test_vqad_load_tells_what_runs_it(path):
    with pytest.raises(VqadError, match=r"model\.onnx: an ONNX file, which ONNX Runtime runs"):
        vqad.load(path)


def test_models_in_bfloat16_are_refused(folder):
    trained = vqad.load(folder)
    with pytest.raises(VqadError, match="computes in bfloat16"):
        onnx.build(dataclasses.replace(trained, model=trained.model.clone(dtype="bfloat16")))


def test_runtimes_are_timed(folder, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "cpu_has_bfloat16", lambda: False)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    timed, outputs = benchmark._timed, set()

    def counted(predict, images):
        outputs.add(len(predict(images)))
        return timed(predict, images)

    monkeypatch.setattr(benchmark, "_timed", counted)
    assert main(["benchmark", folder, "--batch=2", "--seconds=0.05"]) == 0
    assert outputs == {2}  # score and mask
    captured = capsys.readouterr()
    rows = [line.split("|")[1:-1] for line in captured.out.splitlines() if line.startswith("| ")]
    names = [row[0].strip() for row in rows[1:]]
    assert names[:2] == ["JAX", "ONNX Runtime"]
    assert names[2:] == ["OpenVINO"] or "pip install 'vqad[openvino]'" in captured.err
    for row in rows[1:]:
        assert row[1].strip() == "float32"
        batch, speed, median, late, calls, warm_up = map(float, row[2:])
        assert batch == 2
        assert calls >= 5
        assert 0 < median <= late
        assert speed == pytest.approx(1e3 * batch / median, rel=1)
        assert warm_up >= 0
    assert "bfloat16 is left out" in captured.err


@pytest.mark.parametrize("flag", ["--batch=0", "--batch=a", "--seconds=0", "--seconds=nan"])
def test_bad_settings_of_the_benchmark(folder, flag, capsys):
    assert main(["benchmark", folder, flag]) == 2
    assert f"error: {flag}: " in capsys.readouterr().err


def test_figures_of_a_timing():
    timing = benchmark.Timing("x", "float32", 8, 3.0, [0.1] * 19 + [0.3])
    row = benchmark.table([timing]).splitlines()[-1]
    assert row == "| x | float32 | 8 | 72.7 | 100.0 | 110.0 | 20 | 3.0 |"
