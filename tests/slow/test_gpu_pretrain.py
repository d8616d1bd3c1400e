"""The Python parts of tools/gpu_pretrain.sh: steps that fit the time, files in pieces."""

import json
import subprocess
import sys

import numpy as np
import pytest
from command_line import ROOT
from safetensors.numpy import save_file

from vqad.checkpoints import save_weights
from vqad.checkpoints.weights_file import read_weights, write_weights
from vqad.commands.flags import load_config
from vqad.config import validate_values
from vqad.stages import MODULES, STAGES

STAGES_OF_PRETRAINING = ("stage1", "restrictions", "object_decoder", "detector", "stage3")
# Of ml_collections, which loads configurations so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))


def test_steps_fit_the_seconds():
    from gpu_plan import fit_steps

    times, wanted = {"stage1": 0.01, "detector": 0.1}, {"stage1": 50_000, "detector": 20_000}
    fitted = fit_steps(times, wanted, 100)
    assert fitted == {"stage1": 2000, "detector": 800}
    assert sum(times[name] * steps for name, steps in fitted.items()) <= 100
    assert fit_steps(times, wanted, 1e6) == wanted
    assert fit_steps({"detector": 0.1}, wanted, 33.3) == {"detector": 330}
    assert fit_steps({"detector": 0.1}, wanted, 0.55) == {"detector": 5}
    assert fit_steps(times, wanted, -3) == {"stage1": 0, "detector": 0}


def test_warm_up_is_a_part_of_the_steps():
    from gpu_plan import warmup

    assert [warmup(steps) for steps in (5, 300, 50_000)] == [0, 30, 500]


def test_a_run_goes_on_behind_the_stage_that_weights_have_reached():
    from gpu_plan import begin_at

    trains = {name: STAGES[name].trains for name in STAGES_OF_PRETRAINING}

    def begin(stage, step, modules):
        metadata = {"stage": stage, "step": step, "config": {stage: {"steps": 100}}}
        return begin_at(metadata, modules, STAGES_OF_PRETRAINING, trains)

    assert begin_at(None, (), STAGES_OF_PRETRAINING, trains) == (STAGES_OF_PRETRAINING, ())
    assert begin("stage1", 60, ("autoencoder",)) == (STAGES_OF_PRETRAINING, ("autoencoder",))
    assert begin("stage1", 100, ("autoencoder",)) == (STAGES_OF_PRETRAINING[1:], ())
    held = ("autoencoder", "restriction_hi", "restriction_lo")
    assert begin("restrictions", 60, held) == (STAGES_OF_PRETRAINING[1:], held[1:])
    assert begin("stage3", 100, MODULES) == (STAGES_OF_PRETRAINING, MODULES)


def test_shares_of_the_peak():
    from gpu_plan import shares_of_peak

    assert shares_of_peak("cpu", "float32", 1e12) == {}
    assert shares_of_peak("NVIDIA H100 80GB HBM3", "bfloat16", 98.9e12) == {
        "bfloat16": pytest.approx(0.1)
    }
    shares = shares_of_peak("NVIDIA H200", "float32", 33.5e12)
    assert shares == {"float32": pytest.approx(0.5), "tensorfloat32": pytest.approx(0.0677, 1e-2)}


def test_time_is_divided_among_the_sizes():
    from gpu_pretrain import seconds_of

    assert seconds_of("small", 200, 500) == 200
    assert seconds_of("small", 200, 90) == 90
    assert seconds_of("full", 200, 400) == pytest.approx(260)
    assert seconds_of("full", 200, 300) == 300  # too little for two
    assert seconds_of("base", 200, 140) == 140


def test_pieces_become_the_files_again(tmp_path):
    from pieces import bundle, unbundle

    (tmp_path / "out").mkdir()
    rng = np.random.default_rng(0)
    files = [tmp_path / "full.bin", tmp_path / "full.json"]
    for round_ in range(2):
        contents = [rng.bytes(5000 + round_), b"{}"]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        pieces = bundle(files, tmp_path / "out", "full", piece_bytes=2000)
    assert sorted(tmp_path.joinpath("out").iterdir()) == sorted(pieces)  # the first are gone
    assert len(pieces) == 3
    assert max(piece.stat().st_size for piece in pieces) <= 2000
    written = unbundle(tmp_path / "out", tmp_path / "weights")
    assert [path.read_bytes() for path in written] == contents
    damaged = bytearray(pieces[1].read_bytes())
    damaged[7] ^= 1
    pieces[1].write_bytes(damaged)
    with pytest.raises(SystemExit, match="full: damaged"):
        unbundle(tmp_path / "out", tmp_path / "weights")
    pieces[1].unlink()
    with pytest.raises(SystemExit, match="pieces of full are missing"):
        unbundle(tmp_path / "out", tmp_path / "weights")


def test_eight_bits_keep_a_kernel_to_half_a_level(tmp_path):
    from pieces import bundle, to_eight_bit, unbundle

    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.1, (3, 3, 64, 64)).astype(np.float32)
    kernel[..., 5] = 0
    encoder = rng.normal(0, 50, (4, 4, 64, 64)).astype(np.float32)
    codes = rng.normal(0, 1, (512, 64)).astype(np.float32)
    variables = {
        "params": {
            "autoencoder": {"conv": {"kernel": encoder}},
            "detector": {"conv": {"kernel": kernel, "bias": np.ones(64, np.float32)}},
        },
        "codebook": {"quantizer_lo": {"codes": codes}},
    }
    whole, small = tmp_path / "full.safetensors", tmp_path / "full.int8.safetensors"
    write_weights(str(whole), variables, {"model": {}, "stage": "detector", "step": 3})
    to_eight_bit(whole, small)
    assert small.stat().st_size < whole.stat().st_size
    (tmp_path / "out").mkdir()
    bundle([small], tmp_path / "out", "full")
    (path,) = unbundle(tmp_path / "out", tmp_path / "weights")
    assert path == tmp_path / "weights" / "full.safetensors"
    found, metadata = read_weights(str(path))
    assert metadata["stage"] == "detector"
    np.testing.assert_array_equal(found["codebook"]["quantizer_lo"]["codes"], codes)
    half = read_weights(str(whole))[0]["params"]
    np.testing.assert_array_equal(
        found["params"]["autoencoder"]["conv"]["kernel"], half["autoencoder"]["conv"]["kernel"]
    )
    level = np.abs(kernel).max((0, 1, 2)) / 127
    error = np.abs(found["params"]["detector"]["conv"]["kernel"] - kernel).max((0, 1, 2))
    assert (error <= 0.51 * level + 1e-4).all()
    assert error.max() > 0


def test_modules_that_a_run_has_not_come_to_are_packed_from_the_rest(tmp_path, monkeypatch):
    import pack_weights

    def variables(value, *modules):
        params = {name: {"kernel": np.full((2, 2), value, np.float32)} for name in modules}
        return {"params": params, "codebook": {"autoencoder": params["autoencoder"]}}

    metadata = {"model": {}, "stage": "stage1", "step": 3, "config": {}, "fixed": {}}
    rest, out = tmp_path / "rest.safetensors", tmp_path / "weights" / "small"
    write_weights(str(rest), variables(1, "autoencoder", "detector"), metadata)
    save_weights(str(tmp_path / "run" / "stage1"), variables(2, "autoencoder"), metadata)
    (tmp_path / "run" / "metrics.jsonl").write_text(json.dumps({"step": 3}) + "\n")
    words = ["pack_weights.py", str(tmp_path / "run"), str(out), f"--rest={rest}"]
    monkeypatch.setattr(sys, "argv", words)
    pack_weights.main()
    found, _ = read_weights(f"{out}.safetensors")
    kernels = {name: float(module["kernel"][0, 0]) for name, module in found["params"].items()}
    assert kernels == {"autoencoder": 2, "detector": 1}
    assert found["codebook"]["autoencoder"]["kernel"][0, 0] == 2


def test_rates_are_those_of_the_stage(tmp_path):
    from gpu_timing import images_per_second

    metrics = tmp_path / "metrics.jsonl"
    assert images_per_second(metrics, "detector") is None
    rates = [("stage1", 7), ("detector", 1), ("detector", 30), ("detector", 20)]
    lines = [{"stage": stage, "images_per_second": rate} for stage, rate in rates]
    lines.append({"stage": "detector", "step": 9, "observed": {}})
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert images_per_second(metrics, "detector") == 20


def test_the_newest_whole_checkpoint(tmp_path):
    from gpu_pretrain import newest_checkpoint, start_of

    assert newest_checkpoint(tmp_path) is None
    for name in ("stage1/100", "detector/20", "detector/40.orbax-checkpoint-tmp-1", "compiled/x"):
        (tmp_path / name).mkdir(parents=True)
    assert newest_checkpoint(tmp_path) == tmp_path / "detector" / "20"
    assert start_of("small", (tmp_path, tmp_path / "stage1")) is None
    save_file({}, tmp_path / "stage1" / "small.safetensors")
    assert start_of("small", (tmp_path, tmp_path / "stage1")).parent.name == "stage1"


@pytest.mark.parametrize("size", ["small", "base", "full"])
def test_configurations_for_a_gpu(size):
    config = load_config([f"--config={ROOT}/configs/pretrain.py:{size},gpu"])
    plain = load_config([f"--config={ROOT}/configs/pretrain.py:{size}"])
    validate_values(config)
    assert all(config[name].batch_size > plain[name].batch_size for name in config.stages)
    assert config.model.dtype == ("float32" if size == "small" else "bfloat16")


def test_the_script_tells_how_it_is_used():
    done = subprocess.run([ROOT / "tools" / "gpu_pretrain.sh"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "prepare [corpus]" in done.stdout
