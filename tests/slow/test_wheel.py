"""An installed wheel is enough: no checkout, and a folder that is empty."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest
from command_line import ROOT, TINY, environment

pytest.importorskip("setuptools", reason="builds a wheel: pip install -e '.[test]'")


def done(*command, cwd):
    # What tells of the checkout stays behind.
    env = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    copied = folder / "source"
    for name in ("vqad", "configs"):
        shutil.copytree(ROOT / name, copied / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copied)
    options = ("--no-deps", "--no-index", "--no-build-isolation", "-q", "-w", str(folder))
    done(sys.executable, "-m", "pip", "wheel", *options, str(copied), cwd=folder)
    (built,) = folder.glob("vqad-*.whl")
    return built


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory):
    """An empty folder, and an environment that has the wheel and this one's other packages."""
    folder = tmp_path_factory.mktemp("installed")
    done(sys.executable, "-m", "venv", "--without-pip", str(folder / "env"), cwd=folder)
    options = ("install", "--no-deps", "--no-index", "-q", str(wheel))
    python = folder / "env" / "bin" / "python"
    done(sys.executable, "-m", "pip", "--python", str(python), *options, cwd=folder)
    # Paths in a .pth file come last; .pth files there, as of an editable install, are not read.
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    others = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (site / "others.pth").write_text("".join(f"{path}\n" for path in sorted(others)))
    (folder / "empty").mkdir()
    return folder / "empty", folder / "env" / "bin"


def test_what_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    checked_in = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "vqad").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    configs = {f"vqad/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == checked_in | configs
    assert "vqad/py.typed" in names


def test_it_trains_predicts_and_evaluates_without_the_checkout(place):
    empty, programs = place
    code = "import vqad, vqad.configs.demo as demo; print(vqad.__file__); print(demo.__file__)"
    told = done(str(programs / "python"), "-c", code, cwd=empty).stdout
    assert all(line.startswith(str(programs.parent)) for line in told.splitlines())
    vqad = str(programs / "vqad")
    run = ("--config=demo", "--workdir=run", *TINY, "--config.image_size=(32, 32)")
    done(vqad, "train", *run, cwd=empty)
    evaluated = (empty / "run" / "evaluation.json").read_text()
    assert json.loads(evaluated)["images"] > 0
    code = (
        "import vqad; from vqad.data.surface_demo.folders import write_tiles\n"
        "write_tiles('tiles', train=1, good=2, defective=1)\n"
        "print(vqad.evaluate(vqad.load('run'), 'tiles').images)"
    )
    assert done(str(programs / "python"), "-c", code, cwd=empty).stdout == "6\n"
    told = done(vqad, "predict", "run", "tiles/test", "--out", "found", cwd=empty).stdout
    assert told.startswith("6 images, 0 skipped")
    (empty / "run" / "evaluation.json").unlink()
    done(vqad, "evaluate", *run, cwd=empty)
    again = json.loads((empty / "run" / "evaluation.json").read_text())
    assert again["overall"] == json.loads(evaluated)["overall"]
    assert sorted(os.listdir(empty)) == ["found", "run", "tiles"]
