"""What `vqad.train` makes of its arguments, and what it and `vqad.evaluate` refuse."""

import logging
import subprocess
import sys

import pytest
from ml_collections import ConfigDict
from tiny import tiny_config

import vqad
from vqad.commands.flags import with_overrides
from vqad.config import base_config
from vqad.errors import VqadError

# Of ml_collections, which loads configurations so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def ran(monkeypatch):
    """Configuration and workdir of each run that was asked for, and what it told."""
    runs = []

    def run(config, workdir, interruption):
        runs.append((config, workdir))
        logging.getLogger("vqad.run").info("running")

    monkeypatch.setattr("vqad.api.run", run)
    monkeypatch.setattr("vqad.api.load", lambda workdir: f"model of {workdir}")
    return runs


def test_a_configuration_by_name_with_other_values(ran, tmp_path):
    model = vqad.train(
        "pretrain:small",
        tmp_path / "run",
        {"stage1.steps": 7, "model": {"num_codes": 64}},
        stages=("stage1",),
        stage1={"batch_size": 4},
        surface=tmp_path,
    )
    ((config, workdir),) = ran
    assert model is None
    assert workdir == str(tmp_path / "run")
    assert (config.stage1.steps, config.stage1.batch_size, config.model.num_codes) == (7, 4, 64)
    assert config.surface == str(tmp_path)
    assert config.image_size == (128, 128)


def test_a_folder_of_good_parts(ran, tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    assert vqad.train(folder, pictures="photographs") == "model of runs/tiles"
    assert vqad.train(f"{folder}/", tmp_path, pictures="photographs") == f"model of {tmp_path}"
    assert vqad.train("gs://bucket/tiles", pictures="photographs") == "model of runs/tiles"
    assert [workdir for _, workdir in ran] == ["runs/tiles", str(tmp_path), "runs/tiles"]
    for config, _ in ran:
        assert config.surface.rstrip("/") in (str(folder), "gs://bucket/tiles")
        assert config.pictures == "photographs"
        assert config.model.num_codes == 512  # of small


def test_a_configuration_of_ones_own_stays_as_it_is(ran, tmp_path):
    config = tiny_config()
    config.stage3.steps = config.stage2.get_ref("steps")
    vqad.train(config, tmp_path, stage2={"steps": 3})
    assert ran[0][0].stage3.steps == 3
    assert config.stage3.steps == 10
    assert not config.is_locked
    (tmp_path / "mine.py").write_text(
        "from vqad.config import base_config\n"
        "def get_config():\n    config = base_config()\n    config.seed = 5\n    return config\n"
    )
    vqad.train(tmp_path / "mine.py", tmp_path)
    assert ran[1][0].seed == 5


def test_what_it_tells_is_printed_unless_the_program_takes_it(ran, tmp_path, capsys, caplog):
    vqad.train(tiny_config(), tmp_path)
    assert capsys.readouterr().out.endswith(" running\n")
    vqad.train(tiny_config(), tmp_path, verbose=False)
    assert capsys.readouterr().out == ""
    caplog.set_level(logging.INFO, "vqad")
    caplog.clear()
    vqad.train(tiny_config(), tmp_path)
    assert capsys.readouterr().out == ""
    assert caplog.messages == ["running"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"stage2.step": 3}, r"config\.stage2\.step: .*no such field; did you mean steps"),
        ({"stage2": {"no": 1}}, r"config\.stage2\.no: .* no such field"),
        ({"seed.more": 1}, r"config\.seed\.more: .* no such field"),
        ({"stage2": 3}, r"config\.stage2: 3 cannot be set"),
        ({"seed": "a"}, r"config\.seed: 'a' cannot be set"),
        ({"seed": 1.5}, r"config\.seed: 1\.5 cannot be set"),
    ],
)
def test_values_that_no_field_takes(given, told):
    with pytest.raises(VqadError, match=told):
        with_overrides(base_config(), given)


def test_what_train_refuses(tmp_path):
    with pytest.raises(VqadError, match="no such file; give a file, or one of demo"):
        vqad.train("no_such", tmp_path)
    with pytest.raises(VqadError, match="workdir: missing"):
        vqad.train("demo")
    with pytest.raises(VqadError, match=r"config\.seed: missing"):
        vqad.train(ConfigDict(), tmp_path, verbose=False)


def test_what_evaluate_refuses(tmp_path):
    with pytest.raises(VqadError, match="cases: 0; give at least 1"):
        vqad.evaluate(tmp_path, tmp_path, cases=0)
    with pytest.raises(VqadError, match=str(tmp_path)):
        vqad.evaluate(tmp_path, tmp_path)


def test_the_names_are_there_and_import_nothing_before(tmp_path):
    code = (
        "import sys, vqad\n"
        "print(sorted({'jax', 'numpy', 'flax', 'ml_collections'} & set(sys.modules)))\n"
        "print(sorted(set(vqad.__all__) - set(dir(vqad))))\n"
        "print([getattr(vqad, name).__name__ for name in sorted(vqad.__all__)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:2] == ["[]", "[]"]
    assert eval(done.stdout.splitlines()[2]) == [
        name if name != "stages" else "vqad.stages" for name in sorted(vqad.__all__)
    ]
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        vqad.trian  # noqa: B018
