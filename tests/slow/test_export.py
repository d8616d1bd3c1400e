"""Exports as safetensors and StableHLO, and the check that every export passes before it counts."""

import dataclasses
import functools
import io
import json
import logging
import re
import shutil
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from command_line import USUAL
from small_model import noise, write_calibrated_model

import vqad
from vqad.cli import main
from vqad.errors import VqadError
from vqad.interop import write
from vqad.interop.export import check, contents, stablehlo
from vqad.kernels.choice import kernels_for
from vqad.prediction import thresholds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_calibrated_model(tmp_path_factory.mktemp("model") / "weights", lively=True)


@pytest.fixture(scope="module")
def trained(folder):
    return vqad.load(folder)


@pytest.fixture(scope="module")
def model(trained):
    return check.Model(trained)


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    """One export of each format, compared with the model."""
    out = tmp_path_factory.mktemp("exports")
    paths = {name: out / f"model.{name}" for name in ("safetensors", "stablehlo")}
    for name, path in paths.items():
        write.export(folder, str(path), name)
    return paths


@pytest.mark.parametrize("name", ["safetensors", "stablehlo"])
def test_an_export_says_the_same_bits_as_the_folder(exported, folder, name, monkeypatch):
    # Without fusions, as tests compile, a program within a program is rounded otherwise.
    monkeypatch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options=USUAL))
    ours, theirs = vqad.load(folder), vqad.load(exported[name])
    assert theirs.image_size == ours.image_size
    assert theirs.thresholds == ours.thresholds
    for images in (noise(8), noise(1)[0], [np.zeros((50, 41, 3), np.uint8)]):
        a, b = ours.predict(images), theirs.predict(images)
        for field in ("scores", "masks", "verdicts", "marks"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


def test_an_export_describes_itself(exported, trained):
    with safetensors.safe_open(exported["safetensors"], framework="np") as file:
        about = json.loads(file.metadata()["vqad"])
        kernel = file.get_tensor("params.detector.encoder_1.conv_1.kernel")
        assert "codebook.autoencoder.quantizer_hi.codes" in file.keys()  # noqa: SIM118
    wanted = trained.variables["params"]["detector"]["encoder_1"]["conv_1"]["kernel"]
    np.testing.assert_array_equal(kernel, wanted)
    assert about["image_size"] == [32, 32]
    assert about["channel_order"] == "RGB"
    assert about["thresholds"]["score"] == trained.thresholds.score
    assert about["vqad"] == vqad.__version__
    assert about["check"]["found"]["images"] == write.DRAWN
    assert about["check"]["found"]["mask_difference_plain"] == 0
    with zipfile.ZipFile(exported["stablehlo"]) as archive:
        program = jax.export.deserialize(bytearray(archive.read("program")))
        assert json.loads(archive.read("metadata.json"))["thresholds"] == about["thresholds"]
    assert program.platforms == ("cpu", "cuda", "tpu")
    precisions = re.findall(r"stablehlo.convolution\(.*precision (\w+)>", program.mlir_module())
    assert set(precisions) == {"HIGHEST"}
    assert "uint8[n,32,32,3]" in str(program.in_avals[-1])


def test_thresholds_of_tiles_are_left_out_and_that_is_told(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("vqad"), "propagate", True)
    copy = shutil.copytree(folder, tmp_path / "model")
    limits = vqad.load(copy).thresholds
    thresholds.write(str(copy), dataclasses.replace(limits, tiled=True, overlap=8))
    path = tmp_path / "model.safetensors"
    write.export(str(copy), str(path), "safetensors")
    (told,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "the export gives no verdicts; run vqad calibrate without --tile" in told
    assert vqad.load(path).thresholds is None
    assert vqad.load(path).predict(noise(1)).verdicts is None


def test_a_program_has_no_network_to_look_into(exported):
    program = vqad.load(exported["stablehlo"])
    message = r"stablehlo: .*give the run's workdir or a safetensors"
    for needed in ("model", "variables", "reconstruct"):
        with pytest.raises(VqadError, match=message):
            getattr(program, needed)


@pytest.mark.parametrize("runtime", ["plain", "onnx"])
def test_other_kernels_mean_the_same(trained, runtime):
    detect = contents.make_detect(trained.model, None)
    detect = jax.jit(detect)
    a = detect(trained.variables, noise())
    with kernels_for(runtime):
        b = detect(trained.variables, noise())
    assert detect._cache_size() == 2
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=2e-5, err_msg=name)


def with_twins(trained):
    """The model with each code there twice, a little apart."""
    variables = jax.tree.map(np.copy, trained.variables)
    for book in variables["codebook"]["autoencoder"].values():
        half = len(book["codes"]) // 2
        book["codes"][half:] = book["codes"][:half] * (1 + 1e-7)
    return dataclasses.replace(trained, variables=variables), half


def test_ties_may_fall_either_way_and_other_codes_may_not(trained):
    twins, half = with_twins(trained)
    model = check.Model(twins)

    def other_twin(images):
        codes = {name: (model(images)[name] + half) % (2 * half) for name in contents.CODES}
        return model.with_codes(images, codes)[0]

    found = check.compare(model, other_twin, noise(), "m")
    assert found.ties == found.codes == 8 * 2 * (16 + 64)
    assert found.images_with_equal_codes == 0
    assert 0 < found.tie_excess < 1e-6
    assert found.mask_difference_same_codes == 0

    def another(images):
        codes = {name: model(images)[name].copy() for name in contents.CODES}
        codes["restored_hi"][3, 2, 2] = (codes["restored_hi"][3, 2, 2] + 1) % half
        return model.with_codes(images, codes)[0]

    with pytest.raises(VqadError, match="a code differs from the model's that is no tie"):
        check.compare(model, another, noise(), "m")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mask", lambda mask: mask + 2e-4, "a mask differs by 0.0002"),
        ("mask", lambda mask: mask * np.nan, "a mask differs by nan"),
        ("score", lambda score: score - 2e-4, "a score differs by 0.0002"),
        ("verdict", lambda verdict: verdict ^ (np.arange(8) == 5), "a verdict differs"),
    ],
)
def test_what_differs_fails_the_check(model, name, change, message):
    def export(images):
        found = model(images)
        return {**found, name: change(found[name])}

    with pytest.raises(VqadError, match=message):
        check.compare(model, export, noise(), "m")
    # In a batch that is padded, too, and no more than is allowed is let through.
    found = check.compare(model, model, noise(11), "m")
    assert (found.images, found.images_with_equal_codes) == (11, 11)


@pytest.mark.parametrize("part", ["autoencoder", "upsampler"])
def test_a_wrong_export_is_not_written_and_the_older_one_stays(
    folder, tmp_path, monkeypatch, capsys, part
):
    right, opened = write.FORMATS["safetensors"]

    def build(trained):
        variables = jax.tree.map(np.copy, trained.variables)
        for leaf in jax.tree.leaves(variables["params"][part]):
            leaf *= 1.05
        return right(dataclasses.replace(trained, variables=variables))

    monkeypatch.setitem(write.FORMATS, "safetensors", (build, opened))
    out = tmp_path / "m.safetensors"
    out.write_bytes(b"older")
    assert main(["export", folder, str(out), "--format=safetensors"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {out}: not written, the export fails its check: a ")
    assert out.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [out]


def test_the_command_compares_on_given_images(folder, tmp_path, capsys):
    from PIL import Image

    for i, image in enumerate(noise(3)):
        Image.fromarray(image).resize((40, 48)).save(tmp_path / f"{i}.png")
    out = tmp_path / "new" / "m.safetensors"
    line = ["export", folder, str(out), "--format=safetensors", "--images"]
    assert main([*line, str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("3 images, all codes equal in 3, whose masks differ by 0 at most\n")
    assert f"written: {out} (" in printed
    (tmp_path / "broken.png").write_bytes(b"x")
    assert main([*line, str(tmp_path / "broken.png")]) == 2
    assert "broken.png: not a picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("m.zip", r"m\.zip: the name must end in \.safetensors"),
        ("gs://bucket/m.safetensors", "copy it here"),
    ],
)
def test_places_that_are_refused(folder, out, message):
    with pytest.raises(VqadError, match=message):
        write.export(folder, out, "safetensors")


def test_an_export_is_no_place_for_thresholds_and_has_one_size(exported, tmp_path, capsys):
    from PIL import Image

    for i, image in enumerate(noise(3)):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    line = ["calibrate", str(exported["stablehlo"]), str(tmp_path), "--false_alarms=0.3"]
    assert main(line) == 2
    assert "calibrate the folder that it came from" in capsys.readouterr().err
    with pytest.raises(VqadError, match="was exported for 32 x 32"):
        vqad.load(exported["stablehlo"], (64, 64))
    assert vqad.load(exported["safetensors"], (64, 64)).image_size == (64, 64)


def packed(trained, function):
    """An export whose program is another one."""
    flat = stablehlo.safetensors.flat(trained.variables)
    (n,) = jax.export.symbolic_shape("n")
    image = jax.ShapeDtypeStruct((n, 32, 32, 3), jnp.uint8)
    program = jax.export.export(jax.jit(function), platforms=["cpu"])(flat, image)
    text = json.dumps(contents.describe(trained))
    return stablehlo.pack(trained, bytes(program.serialize()), text)


def test_programs_that_are_not_ours_are_refused(trained, tmp_path):
    limits = trained.thresholds

    def outputs(image):
        n = image.shape[0]
        codes = {name: jnp.zeros((n, 4, 4), jnp.int32) for name in contents.CODES}
        mask = image[..., 0] / 255.0
        score = mask.max((1, 2))
        verdicts = {"verdict": score > limits.score, "marks": mask > limits.pixel}
        return {"score": score, "mask": mask, **codes, **verdicts}

    def calling(weights, image):
        found = outputs(image)
        inverse = jnp.linalg.inv(jnp.eye(3) + 0 * found["score"].sum())
        return {**found, "score": found["score"] + inverse.sum()}

    programs = {
        "calls code that is not in it": calling,
        "outputs are others": lambda weights, image: {"score": outputs(image)["score"]},
        "other shapes": lambda _, x: {**outputs(x), "mask": outputs(x)["mask"][:, 1:]},
    }
    path = tmp_path / "m.stablehlo"
    path.write_bytes(packed(trained, lambda weights, image: outputs(image)))
    assert vqad.load(path).predict(noise(1)[0]).masks.shape == (32, 32)
    for reason, function in programs.items():
        path.write_bytes(packed(trained, function))
        with pytest.raises(VqadError, match=rf"m\.stablehlo: holds no program .*{reason}"):
            vqad.load(path)


def test_archives_that_are_not_ours_are_refused(exported, tmp_path):
    members = {}
    with zipfile.ZipFile(exported["stablehlo"]) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    path = tmp_path / "m.stablehlo"

    def refused(message, method=zipfile.ZIP_STORED, **more):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, data in {**members, **more}.items():
                archive.writestr(name, data)
        path.write_bytes(file.getvalue())
        with pytest.raises(VqadError, match=message):
            vqad.load(path)

    refused("does not hold program", extra=b"x")
    refused("is compressed", zipfile.ZIP_DEFLATED)
    refused("holds no program", program=members["program"][: len(members["program"]) // 2])
    refused("its format is not", **{"metadata.json": b"{}"})
    path.write_bytes(exported["stablehlo"].read_bytes()[:-100])
    with pytest.raises(VqadError, match="neither a folder nor an export"):
        vqad.load(path)
    with pytest.raises(VqadError, match="no such folder"):
        vqad.load(tmp_path / "absent.stablehlo")
