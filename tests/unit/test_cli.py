import json
import re
import subprocess
import sys

import pytest

from vqad import __version__
from vqad.cli import COMMANDS, GROUPS, main, parse
from vqad.commands import export, train
from vqad.commands.flags import load_config
from vqad.errors import VqadError

# Of ml_collections, which loads configurations so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"vqad {__version__}\n"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for group, modules in GROUPS.items():
        assert f"\n{group}:\n" in out
        for module in modules:
            (name,) = (name for name, command in COMMANDS.items() if command is module)
            assert re.search(rf"^  {name} +{module.__doc__[:9]}", out, re.MULTILINE)


def test_a_run_is_evaluated_by_its_own_configuration(tmp_path, monkeypatch, capsys):
    trained = load_config(["--config=demo", "--config.stages=('stage3',)", "--config.seed=5"])
    kept = {key: value for key, value in trained.to_dict().items() if key != "crop"}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    asked = []
    monkeypatch.setattr(train, "_run", lambda args, config: asked.append((args, config)))
    assert main(["evaluate", str(tmp_path), "--config.seed=6"]) == 0
    ((args, config),) = asked
    assert (args.mode, args.workdir, config.seed) == ("evaluate", str(tmp_path), 6)
    assert {**config.to_dict(), "seed": 5} == trained.to_dict()
    for argv, told in {
        (str(tmp_path / "none"),): "config.json: no such file",
        (str(tmp_path), "--workdir=x"): "give RUN alone",
        ("--workdir=x",): "--config: missing",
    }.items():
        assert main(["evaluate", *argv]) == 2
        assert told in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"seed": "a"}')
    assert main(["evaluate", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: vqad {name} ")
    assert max(map(len, out.splitlines())) <= 120
    assert "_" not in "".join(re.findall(r"--(?!config)[\w-]+", out))


@pytest.mark.parametrize("argv", [[], ["no-such-command"], ["import-weights"]])
def test_wrong_usage_exits_with_2(argv, capsys):
    assert main(argv) == 2
    told = capsys.readouterr().err
    assert told.startswith("usage: vqad")
    assert told.splitlines()[-1].startswith("error: ")


def test_underscores_and_hyphens_are_the_same():
    for flag in ("--false-alarms=0.2", "--false_alarms=0.2"):
        assert parse(["calibrate", "a_b", "c_d", flag]).false_alarms == 0.2
    args = parse(["train", "my_tiles", "--workdir=x_y", "--config.seed=1"])
    assert (args.surface, args.workdir) == ("my_tiles", "x_y")


def test_fields_of_configurations_are_kept_as_they_are():
    fields = ["--config.model.num_codes=8", "--noconfig.model.remat", "--config.model.remat"]
    fields += ["--config.stage1.batch_size", "4"]
    args = parse(["plan", "--config", "demo", *fields, "--topology=v5e:2x4"])
    assert (args.config, args.fields) == ("demo", fields)
    config = load_config(["--config=demo", *args.fields])
    assert (config.model.num_codes, config.stage1.batch_size, config.model.remat) == (8, 4, True)


def test_a_folder_is_trained_on_with_the_small_configuration():
    def config(*argv):
        args = parse(["train", *argv])
        return train.configuration(args), args.workdir

    found, workdir = config("data/tiles", "--pictures=photographs", "--config.seed=3")
    assert (found.surface, found.pictures, found.seed) == ("data/tiles", "photographs", 3)
    assert (found.image_size, workdir) == ((128, 128), "runs/tiles")
    assert config("tiles", "--workdir=here")[1] == "here"
    assert config("tiles", "--value-range=0,4095")[0].value_range == (0, 4095)
    for argv, told in {
        ("tiles", "--config=demo"): "--config.surface=tiles",
        ("--pictures=x", "--config=demo"): "--config.pictures=x",
        ("--config=demo",): "--workdir: missing",
        ("--workdir=x",): "--config: missing",
    }.items():
        with pytest.raises(VqadError, match=told):
            config(*argv)


def test_bad_input_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["import-weights", str(tmp_path), str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {tmp_path}: ")
    assert captured.err.count("\n") == 1


def test_module_starts_without_heavy_imports():
    code = (
        "import sys, vqad.cli\n"
        "heavy = {'jax', 'flax', 'torch', 'orbax', 'numpy', 'grain', 'tensorflow_datasets'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_event_files_are_written_without_torch(tmp_path):
    (tmp_path / "torch.py").write_text("print('imported')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import vqad.training.event_files; print('written'); import torch"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["written", "imported"]


def test_python_m_vqad():
    done = subprocess.run(
        [sys.executable, "-m", "vqad", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"vqad {__version__}\n"


def test_a_damaged_configuration_of_a_run_is_named(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    assert main(["evaluate", str(tmp_path)]) == 2
    assert f"{tmp_path}/config.json: not a configuration" in capsys.readouterr().err


def test_the_choices_of_export_are_what_there_is():
    from vqad.interop import runtimes, write

    assert export.RUNTIMES == runtimes.RUNTIMES
    assert set(export.FORMATS) == set(write.FORMATS)
