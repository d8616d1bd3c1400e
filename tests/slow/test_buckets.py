"""Workdirs, checkpoints, folders of pictures and prepared data in a bucket, gs://bucket."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from broken_folders import write_sound
from command_line import command, environment, launch, metrics, refused
from etils import epath
from gcs_server import served
from raw_data import write_ksdd2
from test_failures import read

from vqad import paths
from vqad.checkpoints import complete_steps, load_weights
from vqad.cli import main
from vqad.data.sources import open_source
from vqad.errors import VqadError
from vqad.training.event_files import open_writer

pytest.importorskip("gcsfs")

# Stages 1 and 2 only write what they start with.
SHORT = ["--config.stage1.steps=0", "--config.stage2.steps=0"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with served() as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment().items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield store


@pytest.fixture(scope="module")
def surface(store, tmp_path_factory):
    """A folder of this machine whose copy is gs://bucket/surface."""
    folder = tmp_path_factory.mktemp("data") / "surface"
    write_sound(folder)
    store.put_folder(folder, "surface")
    return folder


@pytest.fixture(scope="module")
def run_here(surface, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("here") / "run"
    result = launch(workdir, *SHORT, f"--config.surface={surface}")
    assert result.returncode == 0, result.stderr
    return workdir


@pytest.fixture(scope="module")
def run_there(store, run_here):
    """A run in the bucket with data from there, killed in stage 3, and started again."""
    prepared = Path(os.environ["TFDS_DATA_DIR"], "surface_demo")
    store.put_folder(prepared, "tfds/surface_demo")
    line = command(
        "gs://bucket/run",
        *SHORT,
        "--config.surface=gs://bucket/surface",
        "--config.data_dir=gs://bucket/tfds",
    )
    variables = environment()
    del variables["JAX_COMPILATION_CACHE_DIR"]  # what is compiled is to go to the workdir
    process = subprocess.Popen(line, env=variables, stderr=subprocess.DEVNULL)
    while process.poll() is None and "run/stage3/4/commit_success.txt" not in store.objects:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # However quick the machine was: back to the first checkpoint, and to a half-written second.
    for name in store.names("run/stage3/"):
        if not name.startswith("run/stage3/4/"):
            store.remove(name)
    for name in store.names("run/stage3/4/"):
        if not name.endswith("commit_success.txt"):
            store.put(name.replace("/4/", "/8/"), store.objects[name])
    assert complete_steps("gs://bucket/run/stage3") == [4]
    result = subprocess.run(
        [*line, "--config.profile_steps=1"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    return "gs://bucket/run", result


def assert_same_bits(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x.view("u4"), y.view("u4")), a, b)


def test_a_killed_run_goes_on_to_the_bits_of_one_on_this_machine(run_here, run_there):
    workdir, result = run_there
    assert "stage3: continuing from step 4" in result.stderr
    for stage, steps in (("stage1", [0]), ("stage2", [0]), ("stage3", [4, 8, 12])):
        assert complete_steps(f"{workdir}/{stage}") == steps
        (there, _), (here, _) = (load_weights(f"{root}/{stage}") for root in (workdir, run_here))
        assert_same_bits(there, here)
    assert not Path("gs:").exists()


def test_a_run_leaves_what_one_on_this_machine_leaves(store, run_here, run_there):
    entries = [json.loads(line) for line in store.objects["run/metrics.jsonl"].splitlines()]
    assert [entry["step"] for entry in entries] == [4, 8, 12]
    assert [entry["loss"] for entry in entries] == [entry["loss"] for entry in metrics(run_here)]
    there = json.loads(store.objects["run/evaluation.json"])
    here = json.loads((run_here / "evaluation.json").read_text())
    assert there["images"] == 4
    assert there["overall"] == here["overall"]
    assert store.objects["run/contact_sheet.png"] == (run_here / "contact_sheet.png").read_bytes()
    assert json.loads(store.objects["run/config.json"])["surface"] == "gs://bucket/surface"
    events = [store.objects[name] for name in store.names("run/tensorboard/stage3/")]
    assert any(b"stage3/loss" in content for content in events)
    assert "run/profile/stage3/table.txt" in store.objects
    assert store.names("run/compiled/")


def test_prepared_data_is_copied_not_drawn_anew(run_there):
    _, result = run_there
    copies = Path(os.environ["XDG_CACHE_HOME"], "vqad", "bucket", "tfds", "surface_demo")
    assert (copies / "pictures").is_dir()
    assert "preparing" not in result.stderr


def test_a_stage_starts_from_weights_in_a_bucket(run_there):
    workdir, _ = run_there
    flags = [
        "--config.stages=('stage3',)",
        "--config.stage3.steps=0",
        f"--config.init_from={workdir}/stage2",
        "--config.surface=gs://bucket/surface",
    ]
    result = launch("gs://bucket/third", *flags)
    assert result.returncode == 0, result.stderr
    (there, _), (earlier, _) = load_weights("gs://bucket/third"), load_weights(f"{workdir}/stage2")
    for name, params in earlier["params"].items():
        assert_same_bits(there["params"][name], params)


def test_damaged_checkpoints_are_set_aside(store, run_there):
    for name in store.names("run/stage3/"):
        store.put(name.replace("run/", "damaged/"), store.objects[name])
    for name in store.names("damaged/stage3/12/variables/"):
        if "/d/" in name:
            store.put(name, store.objects[name][:-20])
    read("set_aside_damaged", "gs://bucket/damaged/stage3")
    assert complete_steps("gs://bucket/damaged/stage3") == [4, 8]
    assert store.names("damaged/stage3/damaged-12/variables/")


def test_doctor_says_of_a_bucket_what_it_says_of_a_folder(store, surface, capsys):
    def said(folder):
        code = main(["doctor", str(folder), "--json"])
        return code, capsys.readouterr().out.replace(str(folder), "FOLDER")

    assert said("gs://bucket/surface") == said(surface)
    for split in ("train", "test"):
        there, here = (
            open_source(str(folder), split, (32, 32), labelled=True)
            for folder in ("gs://bucket/surface", surface)
        )
        assert len(there) == len(here)
        for i in range(len(here)):
            assert there.names(i) == here.names(i)
            jax.tree.map(np.testing.assert_array_equal, there[i], here[i])


def test_doctor_names_what_is_wrong_in_a_bucket(store, surface, capsys):
    store.put_folder(surface, "broken")
    store.put("broken/train/good/0.png", store.objects["broken/train/good/0.png"][:-100])
    store.put("broken/test/good/1.png", store.objects["broken/train/good/1.png"])
    store.remove("broken/ground_truth/pit/0_mask.png")
    store.put("broken/notes/a.png", b"")
    assert main(["doctor", "gs://bucket/broken", "--json"]) == 1
    found = {f["check"]: f["message"] for f in json.loads(capsys.readouterr().out)["findings"]}
    assert set(found) == {"unreadable", "leak", "no-mask", "unused"}
    assert found["unreadable"].startswith("gs://bucket/broken/train/good/0.png: damaged")
    assert "gs://bucket/broken/ground_truth/pit/0_mask.png" in found["no-mask"]
    assert main(["doctor", "gs://bucket/nothing", "--json"]) == 1
    assert "gs://bucket/nothing: no such folder" in capsys.readouterr().out
    assert main(["doctor", "--pictures", "gs://bucket/broken/test"]) == 0


def test_prepare_leaves_its_files_in_the_bucket(store, tmp_path, capsys):
    write_ksdd2(tmp_path)
    where = ["--data_dir", "gs://bucket/public", "--allow_partial"]
    assert main(["prepare", "ksdd2/supervised_16", str(tmp_path), *where]) == 0
    names = store.names("public/ksdd2/supervised_16/")
    assert any(name.endswith("dataset_info.json") for name in names)
    assert any(".array_record" in name for name in names)
    spec = "tfds:ksdd2/supervised_16"
    source = open_source(spec, "test", (32, 32), data_dir="gs://bucket/public", allow_partial=True)
    assert len(source) == 2
    capsys.readouterr()
    assert main(["prepare", "ksdd2/supervised_16", "gs://bucket/ksdd2.zip", *where]) == 2
    assert "gs://bucket/ksdd2.zip: is read from this machine only" in capsys.readouterr().err


def test_weights_are_imported_into_a_bucket(store):
    pytest.importorskip("torch")
    data = Path(__file__).parents[1] / "data"
    assert main(["import-weights", str(data), "gs://bucket/weights"]) == 0
    variables, metadata = load_weights("gs://bucket/weights")
    assert "upsampler" in variables["params"]
    assert metadata["origin"]["format"] == "authors"
    assert main(["import-weights", str(data), "gs://bucket/weights"]) == 2


def test_buckets_that_cannot_be_looked_into_are_named(store, tmp_path, capsys):
    line = refused(launch("gs://nobucket/run"))
    assert "--workdir=gs://nobucket/run: the bucket nobucket cannot be looked into" in line
    for arguments in (
        ["doctor", "gs://nobucket/tiles"],
        ["doctor", "tfds:ksdd2", "--data_dir", "gs://nobucket/tfds"],
    ):
        assert main(arguments) == 1
        assert "the bucket nobucket cannot be looked into (not found)" in capsys.readouterr().out
    with pytest.raises(VqadError, match="hdfs://a: no such storage"):
        paths.check_reachable("hdfs://a")
    with pytest.raises(VqadError, match="nobucket"):
        load_weights("gs://nobucket/run")


def test_without_gcsfs_the_extra_is_named(store, monkeypatch):
    def missing(path):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(type(epath.Path()), "stat", missing)
    with pytest.raises(VqadError, match=r"gs://bucket/a: .*pip install 'vqad\[gcs\]'"):
        paths.check_reachable("gs://bucket/a")


def test_files_in_a_bucket_are_appended_to_and_written_whole(store):
    paths.append("gs://bucket/log/a.txt", "one\n")
    paths.append("gs://bucket/log/a.txt", "two\n")
    assert store.objects["log/a.txt"] == b"one\ntwo\n"
    paths.write_atomic("gs://bucket/log/a.txt", b"three")
    assert store.objects["log/a.txt"] == b"three"
    assert str(paths.absolute("gs://bucket/log")) == "gs://bucket/log"


def test_a_tree_is_copied_but_for_what_is_there(store, tmp_path):
    store.put("tree/a", b"1")
    store.put("tree/b/c", b"2")
    paths.copy_tree("gs://bucket/tree", tmp_path)
    assert (tmp_path / "b" / "c").read_bytes() == b"2"
    before = dict(store.generations)
    paths.copy_tree(tmp_path, "gs://bucket/tree")
    assert store.generations == before
    (tmp_path / "a").write_bytes(b"3")
    (tmp_path / "b" / "c").write_bytes(b"of another length")
    paths.copy_tree("gs://bucket/tree", tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("a", "b/c")] == [b"3", b"2"]
    os.utime(tmp_path / "a", (0, 0))
    paths.copy_tree("gs://bucket/tree", tmp_path)
    assert (tmp_path / "a").read_bytes() == b"1"


def test_event_files_that_cannot_be_written_stop_no_run(store, caplog):
    writer = open_writer(epath.Path("gs://nobucket/tensorboard"), 1)
    for step in range(30):
        writer.add_scalar("loss", 1.0, step)
    writer.close()
    assert "not written now" in caplog.text
