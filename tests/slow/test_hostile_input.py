"""Hostile or careless input ends in VqadError: a short form of `tools/fuzz.py`, and cases."""

import functools
import json
import pickle
import subprocess
import sys
import tarfile
import time
import zipfile

import hypothesis
import pytest
from command_line import ROOT, environment
from hostile import READERS
from mutations import PICKLE
from watch import Misdeed, watched

from vqad.config import base_config
from vqad.data.builders.files import open_files
from vqad.data.sources import open_source
from vqad.errors import VqadError
from vqad.run import run

# Pillow and TFDS warn of what is odd in files, and ml_collections loads them in an old way.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::RuntimeWarning", "ignore::DeprecationWarning"
)

EXAMPLES = {
    "config": 150,
    "pictures": 150,
    "prepared": 60,
    "weights": 60,
    "archives": 60,
    "exports": 30,
    "results": 60,
}


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return functools.cache(lambda name: READERS[name](tmp_path_factory.mktemp(name)))


def read(reader, sample):
    with watched(functools.partial(reader.lay, sample)) as work:
        reader.read(sample, work)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_reader_raises_our_error_and_does_nothing_else(readers, name):
    if name == "weights":
        pytest.importorskip("torch")
    reader = readers(name)

    @hypothesis.settings(
        max_examples=EXAMPLES[name],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(reader.samples)
    def attempt(sample):
        read(reader, sample)

    attempt()


def fuzz(*args):
    line = [sys.executable, str(ROOT / "tools" / "fuzz.py"), *args]
    return subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=300)


def test_a_reader_of_checkpoints_does_too(tmp_path):
    """In a process of its own: Orbax's threads go on after a damaged array."""
    result = fuzz("checkpoint", "--examples=30", "--seed=0", f"--keep={tmp_path}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "checkpoint: 30 examples" in result.stdout


@pytest.mark.parametrize("name", [*EXAMPLES, "checkpoint"])
def test_sound_input_is_read(readers, name, tmp_path, monkeypatch):
    """Or the tests above would see nothing but refusals."""
    if name == "weights":
        pytest.importorskip("torch")
    reader = readers(name)
    for number, sample in enumerate(reader.sound):
        work = tmp_path / str(number)
        work.mkdir()
        monkeypatch.chdir(work)
        reader.lay(sample, work)
        reader.read(sample, work, strict=True)


def test_the_watch_sees_what_is_done():
    def outside(work):
        (work / "../outside/file").write_text("changed")

    for deed in (outside, lambda _: pickle.loads(PICKLE), lambda work: (work / "../x").mkdir()):
        with pytest.raises(Misdeed), watched(lambda work: None) as work:
            deed(work)
    with watched(lambda work: None) as work:
        (work / "file").write_text("inside")
        raise VqadError("bad input")


def test_the_watch_sees_that_time_is_over_though_a_reader_takes_it_for_damage(monkeypatch):
    monkeypatch.setattr("watch.LONGEST", 1)
    with pytest.raises(Misdeed, match="take more than 1 s"), watched(lambda work: None):
        try:
            time.sleep(10)
        except Exception as error:
            raise VqadError("damaged") from error


CHECKPOINT = """
import pathlib, sys
sys.path[:0] = sys.argv[1:]
from hostile import Checkpoint
from mutations import PICKLE
from vqad import checkpoints

def change(path, how):
    if how == "pickles" and path.is_file():
        path.write_bytes(PICKLE)
    elif how == "more pickles" and path.is_dir():
        (path / "tree.pkl").write_bytes(PICKLE)
    elif how == "bomb" and path.name == ".zarray":
        path.write_text(path.read_text().replace("[3,4]", "[1099511627776,4]"))
    elif how == "odd" and path.name == "_CHECKPOINT_METADATA":
        path.write_text("[1]")

for how in ("pickles", "more pickles", "bomb", "odd"):
    folder = pathlib.Path.cwd() / how
    Checkpoint(folder)
    newest = folder / "stage1" / "2"
    for path in [newest, *newest.rglob("*")]:
        change(path, how)
    (folder / "stage1" / "1" / "_CHECKPOINT_METADATA").write_text("5")
    print(how, checkpoints.load_weights(str(folder))[1]["stage"], sep=": ")
"""


def test_checkpoints_with_surprises(tmp_path):
    """Pickles are not run, bombs not read; what Orbax keeps beside a checkpoint does not matter."""
    line = [sys.executable, "-c", CHECKPOINT, str(ROOT / "tests" / "support")]
    result = subprocess.run(
        line, env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    hows = ("pickles", "more pickles", "bomb", "odd")
    assert result.stdout.splitlines() == [f"{how}: stage1" for how in hows], result.stderr
    assert not list(tmp_path.rglob("pwned"))
    refused = [line for line in result.stderr.splitlines() if "cannot be read" in line]
    assert len(refused) == 2
    assert f"{tmp_path}/pickles/stage1/2: " in refused[0]
    assert f"{tmp_path}/bomb/stage1/2: " in refused[1]
    assert "are said to have 17,592,186,044,4" in refused[1]


def test_features_of_other_makers_are_not_imported(readers, tmp_path):
    reader = readers("prepared")
    spec, tree = reader.sound[1]
    name = "borrowed/1.0.0/features.json"
    evil = tree[name].replace(b"tensorflow_datasets.core.features.text_feature", b"antigravity")
    reader.lay((spec, {**tree, name: evil}), tmp_path)
    assert b"antigravity" in evil
    with pytest.raises(VqadError, match=r"features\.json: names a feature 'antigravity\.Text'"):
        open_source(spec, "train", (32, 32), data_dir=str(tmp_path))
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("name", ["config.json", "stage1", ".lock", "metrics.jsonl"])
def test_a_workdir_with_a_link_out_of_it_is_refused(tmp_path, name):
    config = base_config()
    config.pictures, config.stages = str(tmp_path), ("stage1",)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VqadError, match=rf"run/{name}: a link that leads out of --workdir"):
        run(config, str(tmp_path / "run"))
    assert not (tmp_path / "elsewhere").exists()


def opened(path, scratch):
    files = open_files(path, r"[^/]+/(?P<name>\w+\.png)", "pictures", scratch)
    return [len(files.read(name)) for name in files.names]


def test_archives_that_would_fill_memory_or_disk_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("vqad.data.builders.files.MAX_BYTES", 2**20)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "zeros").write_bytes(bytes(2**20 + 1))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "zeros", "1.png")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "zeros", "1.png")
    for name in ("a.zip", "b.tar.gz"):
        with pytest.raises(VqadError, match="more than any picture"):
            opened(tmp_path / name, scratch)
    (tmp_path / "zeros").write_bytes(bytes(2**20))
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        for number in range(4):
            archive.add(tmp_path / "zeros", f"{number}.png")
    with pytest.raises(VqadError, match="a hundred times its size"):
        opened(tmp_path / "c.tar.gz", scratch)
    assert not list(scratch.glob("3.png"))


def test_weights_that_would_fill_memory_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    from vqad.interop.import_weights import read_checkpoint

    name = "_encoder_b._conv_1.weight"
    torch.save({name: torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "a.pt")
    with pytest.raises(VqadError, match="no plain tensor"):
        read_checkpoint(tmp_path / "a.pt")
    torch.save({name: torch.zeros(10**6)}, tmp_path / "b.pt")
    with (
        zipfile.ZipFile(tmp_path / "b.pt") as plain,
        zipfile.ZipFile(tmp_path / "c.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.namelist():
            packed.writestr(member, plain.read(member))
    with pytest.raises(VqadError, match="members are said to have"):
        read_checkpoint(tmp_path / "c.pt")


def test_results_that_are_no_results_are_made_anew(tmp_path):
    from vqad.evaluation.evaluate import is_evaluated
    from vqad.training.progress import Progress

    config = base_config()
    for text in ("[]", "{", "[" * 100_000, '{"about": 3}', "\0\xff"):
        (tmp_path / "evaluation.json").write_text(text)
        assert not is_evaluated(config, str(tmp_path), str(tmp_path))
    entries = [
        b'{"stage": "stage1", "step": 3}',
        b'{"stage": "stage1", "step": "x"}',
        b"[]",
        b"\xff",
    ]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(entries) + b"\n")
    Progress(str(tmp_path), "stage1", 5, 9, 1, primary=True).close()
    kept = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in kept] == [{"stage": "stage1", "step": 3}]
