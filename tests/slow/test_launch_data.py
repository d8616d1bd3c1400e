"""Whole runs through the command line on made-up raw data in the layouts of public data sets."""

import io
import json
import re
import shutil

import numpy as np
import pytest
from command_line import launch, metrics, refused
from PIL import Image
from raw_data import write_ksdd2, write_mask, write_mvtec, write_picture

from vqad.checkpoints import complete_steps
from vqad.data.builders import prepare

SHORT = [
    "--config.checkpoint.every_steps=1",
    "--config.log.every_steps=1",
    "--config.log.images_every_steps=2",
    *[f"--config.stage{i}.{field}=2" for i in (1, 2, 3) for field in ("steps", "batch_size")],
]
KSDD2_SIZE = (640, 224)


def run(workdir, *flags, config, size=None):
    return launch(workdir, *SHORT, *flags, config=config, size=size)


def trained(workdir, stage, result):
    """That a run trained a stage to its end; its losses and other figures of learning."""
    assert result.returncode == 0, result.stderr
    assert complete_steps(workdir / stage) == [1, 2]
    entries = metrics(workdir)
    assert [(entry["stage"], entry["step"]) for entry in entries] == [(stage, 1), (stage, 2)]
    timed = ("images_per_second", "seconds_left")
    assert [entry["seconds_left"] > 0 for entry in entries] == [True, False]
    figures = [{k: v for k, v in e.items() if k not in ("stage", *timed)} for e in entries]
    assert all(np.isfinite(list(entry.values())).all() for entry in figures)
    return figures


def shown_sizes(workdir, stage):
    """Height and width of the pictures for TensorBoard, the images of a batch in a row."""
    (events,) = (workdir / "tensorboard" / stage).glob("events.*")
    content = events.read_bytes()
    starts = [match.start() for match in re.finditer(b"\x89PNG", content)]
    sizes = [Image.open(io.BytesIO(content[start:])).size for start in starts]
    return {(height, width) for width, height in sizes}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Where raw data, prepared data and the first stage are, with the flags that say so."""
    root = tmp_path_factory.mktemp("data")
    write_ksdd2(root / "ksdd2", size=(60, 24))
    write_mvtec(root / "mvtec", size=(50, 40))
    for i in range(3):
        write_picture(root / "photographs" / f"{i}.jpg", size=(40, 48))
    result = run(
        root / "stage1",
        "--config.pictures=tfds:natural_images",
        f"--config.manual_dir={root / 'photographs'}",
        f"--config.data_dir={root / 'tfds'}",
        config="stage1.py",
        size=(32, 32),
    )
    trained(root / "stage1", "stage1", result)
    assert "prepared natural_images/1.0.0: 3 train images" in result.stderr
    assert "labelled" not in result.stderr
    return root


def flags_for(data, raw, *more):
    where = [f"--config.data_dir={data / 'tfds'}", f"--config.manual_dir={data / raw}"]
    return [*where, f"--config.init_from={data / 'stage1'}", *more]


ALLOWED = "--config.allow_partial=True"


def test_ksdd2_is_prepared_and_trained_at_its_size(data, tmp_path):
    workdir = tmp_path / "run"
    flags = flags_for(data, "ksdd2", ALLOWED)
    result = run(workdir, *flags, config="stage2.py:ksdd2")
    trained(workdir, "stage2", result)
    assert "ksdd2/unsupervised/1.0.0 is not whole: 2 train good instead of 2085" in result.stderr
    assert (
        "tfds:ksdd2/unsupervised: 2 good images and 0 labelled defects to train with, "
        in result.stderr
    )
    assert shown_sizes(workdir, "stage2") == {(640, 2 * 224)}
    again = run(workdir, *flags, config="stage2.py:ksdd2")
    assert again.returncode == 0, again.stderr
    assert "stage2: already trained for 2 steps, nothing to do" in again.stderr
    assert len(metrics(workdir)) == 2


def test_labelled_ksdd2_gives_loading_processes_the_same_batches(data, tmp_path):
    flags = flags_for(data, "ksdd2", ALLOWED)
    # Every second image is a defect, so that each batch of two has one.
    flags.append("--config.labelled_share=0.5")
    config = "stage2.py:ksdd2_supervised_16"
    result = run(tmp_path / "threads", *flags, config=config)
    figures = trained(tmp_path / "threads", "stage2", result)
    told = (
        "tfds:ksdd2/supervised_16: 2 good images and 1 labelled defects to train with, which are "
        "0.5 of each batch"
    )
    assert told in result.stderr
    again = run(tmp_path / "process", *flags, "--config.loading_workers=1", config=config)
    assert trained(tmp_path / "process", "stage2", again) == figures
    assert told in again.stderr
    assert "ksdd2/supervised_16/1.0.0 is prepared in" in again.stderr
    assert "ksdd2/supervised_16/1.0.0 is not whole: 2 train good" in again.stderr


def test_mvtec_category_is_prepared_and_trained(data, tmp_path):
    workdir = tmp_path / "run"
    flags = flags_for(data, "mvtec", ALLOWED)
    # Of the size of KolektorSDD2, whose compiled step is there.
    result = run(workdir, *flags, config="stage2.py:mvtec_ad/bottle", size=KSDD2_SIZE)
    trained(workdir, "stage2", result)
    assert "tfds:mvtec_ad/bottle: 2 good images and 0 labelled defects" in result.stderr


def test_folder_with_labelled_defects_is_trained_and_evaluated(data, tmp_path):
    folder = tmp_path / "tiles"
    shutil.copytree(data / "mvtec" / "bottle", folder)
    for i in (1, 2, 3):
        write_picture(folder / "train" / "contamination" / f"10{i}.png", size=(50, 40))
        write_mask(folder / "ground_truth" / "contamination" / f"10{i}_mask.png", size=(50, 40))
    surface = [f"--config.surface={folder}", "--config.labelled_share=0.5"]
    told = f"{folder}: 2 good images and 3 labelled defects to train with"
    # Again of the size of KolektorSDD2.
    second, third = tmp_path / "second", tmp_path / "third"
    start = f"--config.init_from={data / 'stage1'}"
    result = run(second, *surface, start, config="stage2.py:folder", size=KSDD2_SIZE)
    trained(second, "stage2", result)
    assert told in result.stderr
    start = f"--config.init_from={second}"
    evaluating = "--config.evaluation.batch_size=2"
    result = run(third, *surface, start, evaluating, config="stage3.py:folder", size=(32, 64))
    trained(third, "stage3", result)
    assert told in result.stderr
    report = json.loads((third / "evaluation.json").read_text())
    assert report["images"] == 3  # none of those to train with
    assert {name: found["images"] for name, found in report["classes"].items()} == {
        "broken_large": 1,
        "contamination": 1,
    }
    assert report["about"]["surface"] == str(folder)
    assert report["about"]["image_size"] == [32, 64]
    figures = report["overall"]
    assert figures.pop("intervals").keys() == figures.keys() - {"images"}
    assert figures.pop("pixel_aupimo") is None  # too few pixels for its rates
    assert all(np.isfinite(value) for value in figures.values())


@pytest.mark.parametrize(
    ("raw", "flags", "words"),
    [
        ("nowhere", [ALLOWED], ["nowhere: no such file or folder; check the path"]),
        ("photographs", [ALLOWED], ["photographs: not in the layout expected", "<category>/train"]),
        (
            "mvtec",
            [],
            ["mvtec: not the whole of mvtec_ad: 2 train good instead of 240", ALLOWED],
        ),
    ],
)
def test_bad_raw_data_is_refused_before_training(data, tmp_path, raw, flags, words):
    flags = flags_for(data, raw, f"--config.data_dir={tmp_path / 'tfds'}", *flags)
    line = refused(run(tmp_path / "run", *flags, config="stage2.py:mvtec_ad/zipper"))
    assert all(word in line for word in words), line
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "tfds").rglob("*array_record*"))


def test_partial_data_once_prepared_needs_leave_in_later_runs(data, tmp_path):
    prepare("mvtec_ad", "zipper", data / "mvtec", tmp_path / "tfds", allow_partial=True)
    flags = flags_for(data, "mvtec", f"--config.data_dir={tmp_path / 'tfds'}")
    line = refused(run(tmp_path / "run", *flags, config="stage2.py:mvtec_ad/zipper"))
    assert "from a part only: 2 train good instead of 240" in line
    assert ALLOWED in line
    assert not (tmp_path / "run").exists()
