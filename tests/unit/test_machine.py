"""What of the machine fails is one line that blames no input: devices, memory, disk; and ~."""

import errno
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from broken_folders import write, write_sound
from command_line import ROOT, environment

from vqad import checkpoints
from vqad.cli import main, parse
from vqad.commands import doctor, train
from vqad.config import base_config
from vqad.data.sources import open_source
from vqad.errors import OutOfMemory, VqadError, less_memory, machine_fault
from vqad.prediction.inputs import gather
from vqad.run import run
from vqad.stages import STAGES
from vqad.training.resume import describe, steps_done

# Of ml_collections, which loads configurations so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")


def caused(error):
    """An error that a library raises around another."""
    try:
        raise ValueError("a page of words") from error
    except ValueError as outer:
        return outer


def test_what_libraries_log_of_files_is_not_shown(tmp_path, capsys):
    (tmp_path / "none.tif").write_bytes(b"II*\0" + bytes(4))
    root = logging.getLogger()
    handler = logging.StreamHandler(sys.stderr)  # as absl leaves one
    root.addHandler(handler)
    try:
        assert main(["doctor", str(tmp_path)]) == 1
    finally:
        root.removeHandler(handler)
    assert capsys.readouterr().err == ""
    assert logging.getLogger("tifffile").level == logging.NOTSET


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 7 GiB"), r"out of memory \(Unable to allocate 7 GiB\)"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), "out of memory"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "out of memory"),
        (FULL, "No space left on device; free disk space"),
        (ValueError(f"RESOURCE_EXHAUSTED: Error writing a: {FULL.strerror} [b]"), "^No space left"),
    ],
)
def test_faults_of_the_machine_are_told_in_a_line(error, said, monkeypatch, capsys):
    for raised in (error, caused(error)):
        with pytest.raises(VqadError, match=said):
            raise machine_fault(raised)

        def fail(args, raised=raised):
            raise raised

        monkeypatch.setattr(doctor, "run", fail)
        assert main(["doctor", "x"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_other_errors_stay_what_they_are(monkeypatch):
    def fail(args):
        raise ValueError("a mistake of the program's")

    monkeypatch.setattr(doctor, "run", fail)
    with pytest.raises(ValueError, match="a mistake"):
        main(["doctor", "x"])


def test_too_little_memory_names_what_to_lower(tmp_path, monkeypatch):
    with (
        pytest.raises(OutOfMemory, match=r"\(9 GiB\); lower --batch$"),
        less_memory("lower --batch"),
    ):
        raise caused(MemoryError("9 GiB"))
    with pytest.raises(VqadError, match="could not be written"), less_memory("lower --batch"):
        raise VqadError("could not be written") from FULL

    def train_stage(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    write(tmp_path / "pictures/0.png")
    monkeypatch.setattr("vqad.run._keep_compiled", lambda folder: None)
    monkeypatch.setattr("vqad.run.train_stage", train_stage)
    config = base_config()
    config.update(pictures=str(tmp_path / "pictures"), stages=("stage1",))
    with pytest.raises(VqadError, match=r"lower config\.stage1\.batch_size, .*accumulate_steps"):
        run(config, str(tmp_path / "run"))


def program(code, *args, **variables):
    """What a program of its own says; it has to end with 2 after one line of error."""
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=environment(**variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert [line[:7] for line in lines if not line[:1].isdigit()] == ["error: "], result.stderr
    return lines[-1]


LOAD = """
import sys
from vqad import checkpoints, cli
from vqad.commands import doctor
doctor.run = lambda args: checkpoints.load_weights(args.source)
sys.exit(cli.main(["doctor", sys.argv[1]]))
"""


def test_a_device_that_jax_lacks_damages_no_checkpoint(tmp_path):
    variables = {"params": {"module": {"a": np.zeros(3, np.float32)}}, "codebook": {}}
    checkpoints.save_weights(str(tmp_path / "run"), variables, {"model": {}})
    said = program(LOAD, tmp_path / "run", JAX_PLATFORMS="cuda")
    assert "JAX_PLATFORMS=cuda: JAX has no such device" in said
    assert "move" not in said


TRAIN = "import sys; from vqad import cli; sys.exit(cli.main(sys.argv[1:]))"


def test_training_on_a_device_that_jax_lacks(tmp_path):
    write(tmp_path / "pictures/0.png")
    flags = [f"--config.pictures={tmp_path / 'pictures'}", "--config.stages=('stage1',)"]
    flags += ["--config=small", f"--workdir={tmp_path / 'run'}"]
    said = program(TRAIN, "train", *flags, JAX_PLATFORMS="nonsense")
    assert "JAX_PLATFORMS=nonsense: JAX has no such device" in said


FULL_DISK = """
import resource, sys, warnings
import numpy as np
from vqad import checkpoints, cli
from vqad.commands import doctor

def run(args):
    array = np.random.default_rng(0).normal(size=(400, 400)).astype("f4")
    variables = {"params": {"module": {str(i): array for i in range(20)}}, "codebook": {}}
    manager = checkpoints.open_manager(args.source, keep=1)
    # Writes fail midway, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    checkpoints.save(manager, 1, variables, {"model": {}}, {"opt_state": variables})
    checkpoints.finish(manager)

doctor.run = run
sys.exit(cli.main(["doctor", sys.argv[1]]))
"""


def test_a_full_disk_is_one_line_whatever_threads_say(tmp_path):
    said = program(FULL_DISK, tmp_path / "stage1")
    assert "a checkpoint could not be written" in said


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A surface, and a function that says whether a stage trained on it goes on with another."""
    write_sound(tmp_path / "tiles")
    config = base_config()
    config.surface = str(tmp_path / "tiles")
    workdir = str(tmp_path / "run")
    described = describe(config, STAGES["stage2"], workdir)
    monkeypatch.setattr("vqad.checkpoints.latest_step", lambda f: 7 if f.name == "stage2" else None)
    monkeypatch.setattr("vqad.checkpoints.load_metadata", lambda _: described)

    def goes_on(surface):
        config.surface = str(surface)
        return steps_done(config, STAGES["stage2"], workdir) == 7

    return described, goes_on


def test_the_same_surface_written_otherwise_goes_on(trained, tmp_path, monkeypatch):
    _, goes_on = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "tiles")
    for name in ("tiles", "tiles/", "./tiles", "link", "~/tiles", "run/../tiles/."):
        assert goes_on(name)
    write(tmp_path / "tiles/test/good/9.png")
    assert goes_on("tiles")


@pytest.mark.parametrize("old", [False, True])
def test_another_surface_of_the_same_name_stops(trained, tmp_path, monkeypatch, old):
    described, goes_on = trained
    if old:  # saved before there was a fingerprint
        described.pop("surface_files")
    (tmp_path / "other").mkdir()
    write_sound(tmp_path / "other/tiles")
    monkeypatch.chdir(tmp_path / "other")
    described["fixed"]["surface"] = "tiles"
    with pytest.raises(VqadError, match=r"was trained on .*give the same folder"):
        goes_on("tiles")


def test_other_images_in_the_same_folder_stop(trained, tmp_path):
    described, goes_on = trained
    write(tmp_path / "tiles/train/good/9.png")
    with pytest.raises(VqadError, match="holds other training images"):
        goes_on(tmp_path / "tiles")
    described.pop("surface_files")
    assert goes_on(tmp_path / "tiles")
    described.pop("surface_folder")
    assert goes_on(f"{tmp_path}/tiles/")
    for odd in ("a\0b", "", 3, None):
        described["fixed"]["surface"] = odd
        with pytest.raises(VqadError, match="was trained "):
            goes_on(tmp_path / "no_such")


def test_links_are_followed_in_training_too():
    for argv in (["tiles", "--follow-links"], ["tiles", "--config.follow_links=True"]):
        assert train.configuration(parse(["train", *argv])).follow_links
    assert not train.configuration(parse(["train", "tiles"])).follow_links


def test_home_is_expanded_in_every_path(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_sound(tmp_path / "tiles")
    assert main(["doctor", "~/tiles", "--fix=~/copy"]) == 0
    assert (tmp_path / "copy/train/good/0.png").exists()
    assert main(["doctor", "--data-dir=~/tfds", "tfds:ksdd2"]) == 1
    assert f"{tmp_path}/tfds" in capsys.readouterr().out
    asked = []
    monkeypatch.setattr(train, "_run", lambda args, config: asked.append((args, config)))
    fields = ["--config.surface=~/tiles", "--config.init_from", "~/run"]
    assert main(["train", "--config=demo", "--workdir=~/new", *fields]) == 0
    ((args, config),) = asked
    assert (args.workdir, config.surface) == (f"{tmp_path}/new", f"{tmp_path}/tiles")
    assert config.init_from == f"{tmp_path}/run"
    # From Python too.
    assert len(gather(["~/tiles/train/good"])) == 2
    assert len(open_source("~/tiles", "train", None)) == 2
    assert parse(["doctor", "a~b"]).source == "a~b"
    assert not (tmp_path / "~").exists()
