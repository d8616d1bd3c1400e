import subprocess
import sys

import pytest

from vqad import __version__
from vqad.cli import COMMANDS, main


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
    for name, command in COMMANDS.items():
        assert name in out
        assert command.help.split()[0] in out


@pytest.mark.parametrize("argv", [[], ["no-such-command"], ["import-weights"]])
def test_wrong_usage_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: vqad" in capsys.readouterr().err


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
