"""What a run refuses and tells before and around its stages, which are stood in for."""

import errno
import os

import pytest

from vqad.config import base_config
from vqad.errors import VqadError
from vqad.run import run
from vqad.training.lock import WorkdirLock


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr("vqad.run._keep_compiled", lambda folder: None)
    config = base_config()
    config.pictures, config.stages = str(tmp_path / "pictures"), ("stage1",)
    return config


@pytest.mark.parametrize(
    ("done", "refused"),
    [
        (12, None),
        (8, r"2 is not divisible by the 8 devices; .* run on a number of devices that divides it"),
        (None, "2 is not divisible by the 8 devices; give 8"),
    ],
)
def test_batches_are_of_stages_that_are_left(config, tmp_path, monkeypatch, done, refused):
    config.stage1.update(steps=12, batch_size=2)
    monkeypatch.setattr("vqad.run.steps_done", lambda *_: done)
    if refused is None:
        run(config, str(tmp_path / "run"))
    else:
        with pytest.raises(VqadError, match=rf"config\.stage1\.batch_size: {refused}"):
            run(config, str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("number", "name", "told"),
    [
        (errno.EIO, "{}/pictures/1.png", "{}/pictures/1.png: Input/output error; mend that"),
        (errno.EMFILE, None, "Too many open files; mend that"),
        (errno.EACCES, "{}/run/a", "{}/run/a: Permission denied; mend that"),
    ],
)
def test_what_the_system_refuses_is_told_in_a_line(
    config, tmp_path, monkeypatch, number, name, told
):
    def fail(*_):
        raise OSError(number, os.strerror(number), name and name.format(tmp_path))

    monkeypatch.setattr("vqad.run._train", fail)
    (tmp_path / "run").mkdir()
    with pytest.raises(VqadError) as refused:
        run(config, str(tmp_path / "run"))
    assert str(refused.value).startswith(told.format(*[tmp_path] * 2))


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation.json", ".lock"])
def test_a_workdir_with_a_pipe_in_it_is_refused(config, tmp_path, name):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / name)
    with pytest.raises(VqadError, match=f"run/{name}: a pipe or a device"):
        run(config, str(tmp_path / "run"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_where_there_are_no_locks_a_run_goes_on(tmp_path, monkeypatch, caplog, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    lock = WorkdirLock(tmp_path)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            lock.take()
    else:
        lock.take()
        assert "a second run there is not noticed" in caplog.text
    lock.release()
