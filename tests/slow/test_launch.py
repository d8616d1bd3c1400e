"""Whole runs through the command line: train, resume, evaluate, and all that may go wrong."""

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import command, devices, environment, launch, launch_here, metrics, refused
from PIL import Image
from small_model import write_small_model

from vqad.checkpoints import complete_steps, load_weights

# Of ml_collections, which loads configurations so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def picture(path, size=(40, 40), value=None, seed=0):
    rng = np.random.default_rng(seed)
    array = rng.integers(90, 110, (*size, 3), dtype=np.uint8)
    if value is not None:
        array[8:20, 8:20] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def surface(tmp_path):
    folder = tmp_path / "surface"
    for i in range(6):
        picture(folder / "train" / "good" / f"{i}.png", seed=i)
        picture(folder / "test" / "good" / f"{i}.png", seed=10 + i)
        picture(folder / "test" / "spot" / f"{i}.png", value=220, seed=20 + i)
        mask = np.zeros((40, 40), np.uint8)
        mask[8:20, 8:20] = 255
        (folder / "ground_truth" / "spot").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / "ground_truth" / "spot" / f"{i}_mask.png")
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("demo") / "run"
    result = launch(workdir)
    assert result.returncode == 0, result.stderr
    return workdir, result


def test_demo_trains_evaluates_and_leaves_results(demo):
    workdir, result = demo
    for stage in ("stage1", "stage2", "stage3"):
        assert complete_steps(workdir / stage) == [4, 8, 12]
    entries = metrics(workdir)
    assert [(e["stage"], e["step"]) for e in entries] == [
        (stage, step) for stage in ("stage1", "stage2", "stage3") for step in (4, 8, 12)
    ]
    assert all(np.isfinite(e["loss"]) and e["images_per_second"] > 0 for e in entries)
    assert {"perplexity_lo", "codebook_usage_hi"} <= set(entries[0])
    report = json.loads((workdir / "evaluation.json").read_text())
    assert report["images"] == 96
    assert set(report["classes"]) == {"scratch", "pit", "stain", "dent"}
    assert 0 <= report["overall"]["pixel_ap"] <= 1
    with Image.open(workdir / "contact_sheet.png") as sheet:
        assert min(sheet.size) > 300
    written = {
        tag: list((workdir / "tensorboard" / tag).glob("events.*"))
        for tag in ("stage1", "stage2", "stage3")
    }
    assert all(len(files) == 1 for files in written.values())
    content = written["stage2"][0].read_bytes()
    assert all(f"stage2/{tag}".encode() in content for tag in ("I", "I_gen", "I_spc", "M", "loss"))
    parameters = (workdir / "stage1_parameters.txt").read_text()
    assert "autoencoder/encoder_hi/conv_1/kernel" in parameters
    assert "stage2 step 12/12: loss" in result.stderr
    assert "00:00 left" in result.stderr
    assert "tensorflow" not in result.stderr.lower()


def test_finished_run_says_so_and_changes_nothing(demo):
    workdir, _ = demo

    def times():
        return {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}

    before = times()
    result = launch_here(workdir, batch=4)
    assert result.returncode == 0
    assert result.stderr.count("already trained for 12 steps, nothing to do") == 3
    assert times() == before


def test_a_stage_that_others_were_trained_from_may_be_damaged(demo, tmp_path):
    workdir = shutil.copytree(demo[0], tmp_path / "run")
    array = max(
        (workdir / "stage1" / "12" / "variables").rglob("*"), key=lambda p: p.stat().st_size
    )
    array.write_bytes(array.read_bytes()[:100])
    result = launch_here(workdir, batch=4)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("already trained for 12 steps, nothing to do") == 3
    assert complete_steps(workdir / "stage1") == [4, 8, 12]


def test_evaluate_alone_gives_the_same_figures(demo):
    workdir, _ = demo
    first = json.loads((workdir / "evaluation.json").read_text())
    result = launch(workdir, mode="evaluate")
    assert result.returncode == 0, result.stderr
    again = json.loads((workdir / "evaluation.json").read_text())
    assert again["overall"] == first["overall"]
    result = launch(workdir, "--config.evaluation.reinitialize=detector", mode="evaluate")
    assert result.returncode == 0, result.stderr
    assert json.loads((workdir / "evaluation.json").read_text())["overall"] == first["overall"]
    untrained = json.loads((workdir / "evaluation_without_detector.json").read_text())
    assert untrained["overall"] != first["overall"]
    assert untrained["about"]["reinitialized"] == "detector"


def test_devices_that_share_the_height_give_the_same_figures(tmp_path):
    # Scores of a model that is hardly trained are nearly the same: rounding would change places.
    workdir = tmp_path / "run"
    write_small_model(workdir / "stage3", lively=True)
    two, flags = devices(2), ("--config.model.code_units=False",)
    split = (*flags, "--config.evaluation.split=height")
    assert "32 is not divisible by the 2 devices times 32; give 64" in refused(
        launch(workdir, *split, mode="evaluate", variables=two)
    )
    reports = []
    for given, variables in ((flags, {}), (split, two)):
        result = launch(workdir, *given, mode="evaluate", size=(64, 32), variables=variables)
        assert result.returncode == 0, result.stderr
        reports.append(json.loads((workdir / "evaluation.json").read_text()))
    one, both = reports
    assert one["about"]["image_size"] == both["about"]["image_size"] == [64, 32]
    for key in ("images", "image_auroc", "image_ap", "pixel_auroc", "pixel_ap"):
        assert both["overall"][key] == pytest.approx(one["overall"][key], abs=5e-3), key


def test_later_stages_keep_the_bytes_of_earlier_ones(demo):
    workdir, _ = demo
    first, second, third = (load_weights(str(workdir / f"stage{i}"))[0] for i in (1, 2, 3))
    for earlier, later in ((first, second), (second, third)):
        assert later["params"].keys() > earlier["params"].keys()
        for path, array in jax.tree_util.tree_leaves_with_path(earlier):
            found = later
            for key in path:
                found = found[key.key]
            assert found.tobytes() == array.tobytes()


def test_killed_run_continues_to_the_same_bits(demo, tmp_path):
    whole, _ = demo
    workdir, stage = tmp_path / "run", "stage2"
    flags = [f"--config.stages=('{stage}',)", f"--config.init_from={whole / 'stage1'}"]
    process = subprocess.Popen(
        command(workdir, *flags), env=environment(), stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not complete_steps(workdir / stage):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # However quick the machine was: back to the first checkpoint, and to a half-written second.
    for path in (workdir / stage).iterdir():
        if path.name != "4":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (workdir / stage / "8.orbax-checkpoint-tmp").mkdir()
    result = launch(workdir, *flags)
    assert result.returncode == 0, result.stderr
    assert "continuing from step 4" in result.stderr
    (a, _), (b, _) = load_weights(str(whole / stage)), load_weights(str(workdir / stage))
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x.view("u4"), y.view("u4")), a, b)
    assert [entry["step"] for entry in metrics(workdir)] == [4, 8, 12]
    with_other_batches = [f"--config.{stage}.steps=16", f"--config.{stage}.batch_size=8"]
    line = refused(launch(workdir, *flags, *with_other_batches))
    assert f"config.{stage}.batch_size: 8" in line
    assert "trained with 4" in line


def test_own_folder_from_imported_stage(demo, surface, tmp_path):
    whole, _ = demo
    shutil.copy(surface / "train/good/0.png", surface / "test/good/6.png")
    result = launch(
        tmp_path / "own",
        f"--config.surface={surface}",
        "--config.stages=('stage2', 'stage3')",
        f"--config.init_from={whole / 'stage1'}",
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "own" / "evaluation.json").read_text())
    assert report["images"] == 13
    assert report["classes"]["spot"]["images"] == 6
    assert f"test/good/6.png: byte for byte the training image {surface}" in result.stderr


def test_without_a_test_split_it_trains_and_is_not_evaluated(demo, surface, tmp_path):
    whole, _ = demo
    shutil.rmtree(surface / "test")
    result = launch(
        tmp_path / "own",
        f"--config.surface={surface}",
        "--config.stages=('stage3',)",
        f"--config.init_from={whole / 'stage2'}",
    )
    assert result.returncode == 0, result.stderr
    assert "no test split" in result.stderr
    assert complete_steps(tmp_path / "own" / "stage3") == [4, 8, 12]
    assert not (tmp_path / "own" / "evaluation.json").exists()
    line = refused(launch(tmp_path / "own", f"--config.surface={surface}", mode="evaluate"))
    assert "no test split" in line


def test_nonfinite_loss_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    workdir = tmp_path / "run"
    flags = ["--config.stages=('stage1',)", "--config.stage1.learning_rate=1e15"]
    line = refused(launch(workdir, *flags, "--config.checkpoint.every_steps=1"))
    bad = int(re.search(r"not finite at step (\d+)", line)[1])
    assert "config.stage1.learning_rate" in line
    assert bad >= 2
    assert max(complete_steps(workdir / "stage1")) == bad - 1
    variables, _ = load_weights(str(workdir))
    assert all(np.isfinite(array).all() for array in jax.tree.leaves(variables))


def test_imported_weights_are_evaluated(tmp_path, surface):
    pytest.importorskip("torch")
    from vqad.interop.import_weights import import_weights

    weights = tmp_path / "weights"
    sizes = import_weights(Path(__file__).parents[1] / "data", weights)["model"]
    flags = [f"--config.model.{name}={value}" for name, value in sizes.items()]
    result = launch(
        weights, f"--config.surface={surface}", *flags, config="stage3.py", mode="evaluate"
    )
    assert result.returncode == 0, result.stderr
    assert json.loads((weights / "evaluation.json").read_text())["images"] == 12


def test_eight_devices_write_what_one_reads(tmp_path):
    workdir = tmp_path / "run"
    flags = [
        "--config.stages=('stage1',)",
        "--config.stage1.batch_size=8",
        "--config.stage1.standardize_features=True",
        "--config.stage1.hi_dropout=0.5",
    ]
    eight = environment(**devices(8))
    first = subprocess.run(
        command(workdir, *flags, "--config.stage1.steps=4"),
        env=eight,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert first.returncode == 0, first.stderr
    assert "cpu:7" in first.stderr
    result = launch(workdir, *flags, "--config.stage1.steps=8")
    assert result.returncode == 0, result.stderr
    assert "continuing from step 4" in result.stderr
    assert "cpu:1" not in result.stderr


def bad_folder(surface, fault):
    if fault == "missing":
        return surface.parent / "nowhere"
    if fault == "empty":
        (surface.parent / "empty").mkdir()
        return surface.parent / "empty"
    if fault == "truncated":
        path = surface / "train" / "good" / "3.png"
        path.write_bytes(path.read_bytes()[:-400])
    if fault == "mask size":
        Image.new("L", (20, 20), 255).save(surface / "ground_truth" / "spot" / "2_mask.png")
    if fault == "mask called otherwise":
        path = surface / "ground_truth" / "spot" / "2_mask.png"
        path.rename(path.with_name("2_gt.png"))
    return surface


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", ["nowhere"]),
        ("empty", ["empty"]),
        ("truncated", ["train/good/3.png", "truncated"]),
        ("mask size", ["2_mask.png", "20 x 20", "40 x 40"]),
        ("mask called otherwise", ["spot", "2.png", "2_gt.png"]),
    ],
)
def test_bad_folders_are_refused_before_training(surface, tmp_path, fault, words):
    folder = bad_folder(surface, fault)
    line = refused(launch_here(tmp_path / "run", f"--config.surface={folder}"))
    assert all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config.stage1.stepz=3"], ["stepz"]),
        (["--config.stage1.steps=many"], ["steps", "many"]),
        (["--config.model.dtype=float16"], ["config.model.dtype", "bfloat16"]),
        (["--config.init_from=/nowhere", "--config.stages=('stage2',)"], ["/nowhere"]),
        (["stray"], ["stray"]),
        (["--processes=2"], ["--coordinator: missing"]),
        (["--config.stages=('stage1',)", "--config.stage2.steps=-1"], ["config.stage2.steps"]),
        (["--config.seed=-1"], ["config.seed", "at least 0"]),
        (["--config.stages=('stage1', 'stage3')"], ["config.stages", "without a gap"]),
        (["--config.init_from=/weights"], ["config.init_from", "stage1 starts from nothing"]),
        (["--config.evaluation.reinitialize=decoder"], ["no module decoder", "detector"]),
        (["--config.surface=tfds:nothing_of_the_kind"], ["nothing_of_the_kind"]),
    ],
)
def test_bad_settings_are_refused_before_training(tmp_path, flags, words):
    line = refused(launch_here(tmp_path / "run", *flags))
    assert all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


def test_unknown_surfaces_and_configs_are_refused(tmp_path):
    line = refused(launch_here(tmp_path / "run", config="stage2.py:bottles"))
    assert (
        "bottles: no such surface; give ksdd2, ksdd2_supervised_16 (_53, _126, _246), mvtec_ad/"
        in line
    )
    assert "nowhere.py: no such file" in refused(launch_here(tmp_path / "run", config="nowhere.py"))


def test_checkpoint_of_another_width_is_refused(demo, tmp_path):
    workdir, _ = demo
    wider = ["--config.model.hiddens=16"]
    line = refused(launch_here(workdir, *wider))
    assert "config.model.hiddens: 16" in line
    assert "trained with 8" in line
    second = ["--config.stages=('stage2',)", f"--config.init_from={workdir / 'stage1'}"]
    line = refused(launch_here(tmp_path / "run", *wider, *second))
    assert "config.init_from" in line
    assert "encoder_hi" in line
    line = refused(launch_here(workdir, *wider, mode="evaluate"))
    assert "does not fit config.model" in line


def test_stages_of_other_origin_are_refused(demo, tmp_path):
    workdir, _ = demo
    line = refused(launch(workdir, "--config.stage1.steps=16"))
    assert "stage1 has steps left" in line
    third = ["--config.stages=('stage3',)", f"--config.init_from={workdir / 'stage1'}"]
    line = refused(launch(tmp_path / "run", *third))
    assert "holds autoencoder but not" in line
    assert "later stage" in line


def test_workdirs_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(launch_here(tmp_path / "file"))
    assert "mend that" in refused(launch_here(tmp_path / "file" / "run"))
    assert "--workdir: missing" in refused(launch_here(""))
    assert "--workdir=s3://bucket/run: no such storage" in refused(launch_here("s3://bucket/run"))
    assert not Path("s3:").exists()
    (tmp_path / "run").mkdir()
    assert "holds no checkpoint" in refused(launch_here(tmp_path / "run", mode="evaluate"))
