import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vqad.checkpoints import load_weights
from vqad.errors import VqadError
from vqad.interop.authors import authors_to_variables, bgr_to_rgb
from vqad.interop.authors_table import PARTS
from vqad.interop.import_weights import import_weights, read_checkpoint

DATA = Path(__file__).parents[1] / "data"
STAGE_ONE = DATA / "vq_model_pretrained_5_32.pckl"
MODEL = {
    "hiddens": 8,
    "residual_hiddens": 4,
    "residual_layers": 3,
    "code_dim": 5,
    "num_codes": 32,
    "restriction_width": 5,
    "object_bottleneck": 8,
    "unet_width": 3,
}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def source(torch):
    return read_checkpoint(DATA)


@pytest.fixture
def anomalib_file(torch, source, tmp_path):
    """Writes a Lightning checkpoint as anomalib's, with more tensors if asked."""

    def write(**more):
        state = {
            PARTS[part].anomalib + name: torch.from_numpy(array)
            for part, tensors in source.files.items()
            for name, array in tensors.items()
        }
        path = tmp_path / "model.ckpt"
        torch.save({"epoch": 3, "state_dict": state | more}, path)
        return path

    return write


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(value, dict):
            assert_same(value, b[key])
        else:
            np.testing.assert_array_equal(value, b[key])


def test_authors_directory_by_command(torch, source, tmp_path):
    out = tmp_path / "weights"
    done = subprocess.run(
        [sys.executable, "-m", "vqad", "import-weights", str(DATA), str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {out}: hiddens 8, ")
    variables, metadata = load_weights(out)
    assert_same(variables, bgr_to_rgb(authors_to_variables(source.files)))
    assert metadata["model"] == MODEL
    assert metadata["origin"] == {
        "format": "authors",
        "source": source.sources,
        "channel_order": "BGR converted to RGB",
        "ignored": [],
    }
    assert len(source.sources) == 6


@pytest.mark.parametrize("in_directory", [False, True])
def test_stage_one_alone(torch, source, tmp_path, in_directory):
    src = STAGE_ONE
    if in_directory:
        src = tmp_path / "src"
        src.mkdir()
        shutil.copy(STAGE_ONE, src)
    metadata = import_weights(src, tmp_path / "out")
    variables, stored = load_weights(tmp_path / "out")
    assert stored == {**metadata, "step": 0}
    assert metadata["model"] == dict(list(MODEL.items())[:5])
    expected = authors_to_variables({"vq_model": source.files["vq_model"]})
    assert_same(variables, bgr_to_rgb(expected))


def test_anomalib_is_rgb_already(torch, source, anomalib_file, tmp_path):
    path = anomalib_file(**{"image_threshold.value": torch.tensor(0.5)})
    metadata = import_weights(path, tmp_path / "out")
    assert_same(load_weights(tmp_path / "out")[0], authors_to_variables(source.files))
    assert metadata["model"] == MODEL
    assert metadata["origin"] == {
        "format": "anomalib",
        "source": ["model.ckpt"],
        "channel_order": "RGB",
        "ignored": ["image_threshold.value"],
    }
    torch.save(torch.load(path)["state_dict"], path)
    alone = import_weights(path, tmp_path / "alone")
    assert alone == metadata


def test_anomalib_tensors_of_no_network_are_left_over(torch, anomalib_file):
    path = anomalib_file(**{"model.extra.weight": torch.zeros(2)})
    with pytest.raises(VqadError, match=r"left over: model\.extra\.weight;"):
        read_checkpoint(path)


def test_faults_carry_the_source_s_names(torch, source, anomalib_file, tmp_path):
    name = "model.upsampling_module.unet.decoder.fin_out.0.bias"
    path = anomalib_file(**{name: torch.zeros(7)})
    with pytest.raises(VqadError, match=rf"wrong shape: {name} is \[7\], not \[2\]"):
        import_weights(path, tmp_path / "out")
    src = tmp_path / "src"
    shutil.copytree(DATA, src)
    tensors = torch.load(src / STAGE_ONE.name, weights_only=True)
    del tensors["upsample_t.bias"]
    torch.save(tensors, src / STAGE_ONE.name)
    with pytest.raises(VqadError, match=rf"missing: {STAGE_ONE.name}: upsample_t\.bias\."):
        import_weights(src, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["vq_model.pckl", "model.ckpt"])
def test_a_file_that_would_run_code_is_refused(torch, tmp_path, name):
    target = tmp_path / "ran"
    torch.save({"state_dict": {}, "bomb": Bomb(target)}, tmp_path / name)
    with pytest.raises(VqadError, match=r"refused.*could run code") as caught:
        read_checkpoint(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"plain text", b"\x80\x02K\x01."])
def test_a_damaged_file_is_refused(torch, tmp_path, content):
    path = tmp_path / "vq_model.pckl"
    path.write_bytes(content)
    with pytest.raises(VqadError, match=r"vq_model\.pckl: (refused|holds a int)"):
        read_checkpoint(path)


def test_a_truncated_file_is_refused(torch, tmp_path):
    path = tmp_path / STAGE_ONE.name
    path.write_bytes(STAGE_ONE.read_bytes()[:20000])
    with pytest.raises(VqadError, match="refused, the file is damaged"):
        read_checkpoint(path)


def test_directories_must_tell_the_parts(torch, tmp_path):
    src = tmp_path / "src"
    shutil.copytree(DATA, src)
    second = src / "dsr_upsample_module_bottle.pckl"
    shutil.copy(src / "dsr_upsample_module_object.pckl", second)
    with pytest.raises(VqadError, match=r"_bottle\.pckl and .*_object\.pckl are both"):
        read_checkpoint(src)
    second.unlink()
    shutil.copy(STAGE_ONE, src / "other.pckl")
    with pytest.raises(VqadError, match=r"other\.pckl: the name tells no part"):
        read_checkpoint(src)
    (src / "other.pckl").unlink()
    (src / "dsr_upsample_module_object.pckl").unlink()
    with pytest.raises(VqadError, match="no file for upsample_module; give all six"):
        read_checkpoint(src)


def test_the_authors_training_names_the_upsampler_otherwise(torch, tmp_path):
    src = tmp_path / "src"
    shutil.copytree(DATA, src)
    name = "dsr_0.0002_100_bs8_anom_par0.2__upsample.pckl"
    (src / "dsr_upsample_module_object.pckl").rename(src / name)
    assert name in read_checkpoint(src).sources


def test_nothing_is_overwritten(torch, tmp_path):
    (tmp_path / "kept").write_text("precious")
    with pytest.raises(VqadError, match="not an empty folder"):
        import_weights(DATA, tmp_path)
    with pytest.raises(VqadError, match="not an empty folder"):
        import_weights(DATA, tmp_path / "kept")
    assert (tmp_path / "kept").read_text() == "precious"


def test_missing_source(torch, tmp_path):
    with pytest.raises(VqadError, match="nowhere: no such file"):
        read_checkpoint(tmp_path / "nowhere")


def test_without_pytorch_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    module = importlib.import_module("vqad.interop.import_weights")
    with pytest.raises(VqadError, match=r"pip install vqad\[torch\]"):
        module.read_checkpoint(STAGE_ONE)
