"""The notebooks executed whole, with tiny networks; how they find the repository."""

import json
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata

import pytest
from command_line import ROOT, environment

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[notebooks]'")


def notebook(name):
    return nbformat.read(ROOT / "notebooks" / name, as_version=4)


def execute(name, folder, check, without=(), **variables):
    """Executes a notebook in a folder, and a cell more that prints its variables as JSON.

    Cells that have one of the words in ``without`` are left out. Returns what that printed, and all
    outputs before it.
    """
    content = notebook(name)
    content.cells = [
        cell for cell in content.cells if not any(word in cell.source for word in without)
    ]
    content.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({check}))"))
    client = nbclient.NotebookClient(
        content,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    variables |= {"VQAD_TINY": "1", "VQAD_SOURCE": str(ROOT)}
    client.execute(env=environment(**variables))
    *cells, last = [cell for cell in content.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    told = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stderr")
    assert "Traceback" not in told
    return json.loads(last.outputs[0].text), outputs


def shown(outputs, kind):
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


@pytest.mark.parametrize("name", ["train_and_evaluate.ipynb", "what_dsr_sees.ipynb"])
def test_they_are_kept_without_outputs(name):
    content = notebook(name)
    nbformat.validate(content)
    for cell in content.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir that train_and_evaluate leaves, its variables and its outputs."""
    folder = tmp_path_factory.mktemp("train_and_evaluate")
    found, outputs = execute(
        "train_and_evaluate.ipynb",
        folder,
        """{
            "root": str(ROOT),
            "stages": sorted({entry["stage"] for entry in metrics}),
            "images": evaluation["images"],
            "classes": sorted(evaluation["classes"]),
            "limit": detector.thresholds.score,
            "held_out": detector.thresholds.images,
            "scores": found.scores.tolist(),
            "verdicts": found.verdicts.tolist(),
            "titles": titles,
        }""",
    )
    return folder / "runs" / "notebook", found, outputs


def test_train_and_evaluate(trained):
    workdir, found, outputs = trained
    assert found["root"] == str(ROOT)
    assert found["stages"] == ["stage1", "stage2", "stage3"]
    assert found["classes"] == ["dent", "pit", "scratch", "stain"]
    assert found["images"] == 4 + 4 * 2
    assert found["held_out"] == 10
    assert len(found["scores"]) == 5
    assert found["verdicts"] == [score > found["limit"] for score in found["scores"]]
    for title, verdict in zip(found["titles"], found["verdicts"], strict=True):
        assert ("defective" in title) == verdict
    assert json.loads((workdir / "evaluation.json").read_text())["images"] == found["images"]
    assert (workdir / "stage3" / "thresholds.json").exists()
    # Test images, curves, contact sheet, verdicts; and the report.
    assert len(shown(outputs, "image/png")) == 4
    (report,) = (page for page in shown(outputs, "text/html") if "iframe" in page)
    assert len(report) > (workdir / "report.html").stat().st_size
    told = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "stage3: first step after" in told
    auroc = json.loads((workdir / "evaluation.json").read_text())["overall"]["image_auroc"]
    assert f"image_auroc         {auroc:.3f}" in told


def test_without_thresholds_there_are_no_verdicts(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "runs" / "notebook")
    (tmp_path / "runs" / "notebook" / "stage3" / "thresholds.json").unlink()
    titles, outputs = execute(
        "train_and_evaluate.ipynb",
        tmp_path,
        "titles",
        without=[
            "doctor",
            "vqad.train(",
            "metrics.jsonl",
            "evaluation.json",
            "contact_sheet",
            "html",
        ],
    )
    assert [title.partition("\n")[0] for title in titles] == [
        f"{kind}: no verdict" for kind in ("good", "dent", "pit", "scratch", "stain")
    ]
    told = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "Without held-out images there are no thresholds" in told


def test_what_dsr_sees(trained, tmp_path):
    found, outputs = execute(
        "what_dsr_sees.ipynb",
        tmp_path,
        VQAD_MODEL=str(trained[0]),
        check="""{
            "model": str(Path(MODEL).resolve()),
            "changed_lo": np.any(values_lo != encoding.lo.values[:1], -1).mean((1, 2)).tolist(),
            "changed_hi": np.any(values_hi != encoding.hi.values[:1], -1).mean((1, 2)).tolist(),
            "outside": bool(np.any(np.any(values_hi[2] != encoding.hi.values[0], -1)
                & (draws.mask[2, ..., 0].reshape(8, 4, 8, 4).max((1, 3)) == 0))),
            "covered": float(draws.mask.mean()),
            "sizes": [encoding.lo.codes.shape, encoding.hi.codes.shape, found.general.shape],
            "names": names,
            "titles": titles,
        }""",
    )
    assert found["model"] == str(trained[0])
    assert found["sizes"] == [[5, 4, 4], [5, 8, 8], [5, 32, 32, 3]]
    assert found["names"] == ["good", "scratch", "pit", "stain", "dent"]
    assert 0.05 < found["covered"] < 0.4
    # Disturbed are both levels, lo alone, hi alone; with hi alone nothing outside of the mask.
    assert [share > 0 for share in found["changed_lo"]] == [True, True, False]
    assert found["changed_hi"][0] > 0
    assert found["changed_hi"][1] == 0
    assert found["changed_hi"][2] > 0
    assert found["outside"] is False
    assert all("score" in title for title in found["titles"])
    assert len(shown(outputs, "image/png")) == 6


STAND_IN = """
import io, sys, types
files = types.ModuleType("google.colab.files")
files.upload = lambda: {"vqad.zip": open(%r, "rb").read()}
colab = types.ModuleType("google.colab")
colab.files = files
sys.modules |= {"google": types.ModuleType("google"), "google.colab": colab}
"""


def find_repository(folder, source="", before="", after=""):
    """What the first code cell says in a folder that is none; both notebooks begin with it."""
    first, other = (
        next(cell.source for cell in notebook(name).cells if cell.cell_type == "code")
        for name in ("train_and_evaluate.ipynb", "what_dsr_sees.ipynb")
    )
    assert first == other
    return subprocess.run(
        [sys.executable, "-c", before + first + after],
        cwd=folder,
        env=environment(VQAD_SOURCE=source),
        capture_output=True,
        text=True,
    )


def write_repository(folder):
    for name in ("configs/demo.py", "vqad/cli.py"):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text("")
    return folder


def test_the_repository_is_found_around_the_notebook(tmp_path):
    for folder in (ROOT, ROOT / "notebooks"):
        result = find_repository(folder)
        assert result.stdout == f"vqad: {ROOT}\n", result.stderr
    result = find_repository(tmp_path, str(ROOT))
    assert result.stdout == f"vqad: {ROOT}\n", result.stderr


def test_the_repository_is_cloned(tmp_path):
    origin = write_repository(tmp_path / "origin")
    git = ["git", "-C", str(origin), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *arguments], check=True)
    (tmp_path / "here").mkdir()
    for _ in range(2):  # the second time it is there
        result = find_repository(tmp_path / "here", origin.as_uri())
        assert result.stdout == f"vqad: {tmp_path / 'here' / 'vqad-source'}\n", result.stderr


def test_colab_asks_for_the_repository(tmp_path):
    write_repository(tmp_path / "vqad-main")
    with zipfile.ZipFile(tmp_path / "vqad.zip", "w") as archive:
        for name in ("configs/demo.py", "vqad/cli.py"):
            archive.write(tmp_path / "vqad-main" / name, f"vqad-main/{name}")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("other-main/README.md", "")
    (tmp_path / "content").mkdir()
    result = find_repository(tmp_path / "content", before=STAND_IN % str(tmp_path / "other.zip"))
    assert "no repository of vqad" in result.stderr
    before = STAND_IN % str(tmp_path / "vqad.zip")  # chosen when the cell runs once more
    result = find_repository(tmp_path / "content", before=before)
    assert result.stdout.splitlines()[0] == "Choose vqad's repository, as a ZIP file:", (
        result.stderr
    )
    assert result.stdout.splitlines()[1].endswith("/content/vqad-source/vqad-main")


NOT_INSTALLED = """
import importlib.metadata, subprocess
on_disk = importlib.metadata.version
def version(name):
    if name == "vqad":
        raise importlib.metadata.PackageNotFoundError
    return on_disk(name)
importlib.metadata.version = version
subprocess.run = lambda command, check: print(*command[3:])
"""


@pytest.mark.parametrize("chip", ["", "jax[cuda12]", "jax[tpu]"])
def test_it_is_installed_beside_what_is_there(tmp_path, monkeypatch, chip):
    if "cuda" in chip:
        (tmp_path / "nvidia-smi").touch(0o755)
    if "tpu" in chip:
        monkeypatch.setenv("COLAB_TPU_1VM", "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    told = find_repository(ROOT, before=NOT_INSTALLED).stdout.splitlines()
    install, quiet, what, *more = told[0].split()
    assert (install, quiet, what) == ("install", "-q", f"{ROOT}[notebooks]")
    assert [word for word in more if word.startswith("jax[")] == ([chip] if chip else [])
    assert f"numpy=={metadata.version('numpy')}" in more
    assert f"jax=={metadata.version('jax')}" in more


def test_runs_are_kept_in_a_drive(tmp_path, monkeypatch):
    monkeypatch.setenv("VQAD_DRIVE", "vqad")
    drive = (
        "drive = types.ModuleType('google.colab.drive')\n"
        "drive.mount = lambda place: print('mounted', place)\n"
        "colab.drive = drive\n"
    )
    before = STAND_IN % "" + drive
    after = "\nprint(RUNS)"
    result = find_repository(tmp_path, str(ROOT), before, after)
    told = ["mounted /content/drive", f"vqad: {ROOT}", "/content/drive/MyDrive/vqad/runs"]
    assert result.stdout.splitlines() == told, result.stderr
    for name, folder in (
        ("train_and_evaluate", 'RUNS / "notebook"'),
        ("what_dsr_sees", 'RUNS / "demo"'),
    ):
        code = [cell.source for cell in notebook(f"{name}.ipynb").cells if cell.cell_type == "code"]
        assert sum(f"= {folder}" in source for source in code) == 1


def test_without_a_repository_it_says_so(tmp_path):
    result = find_repository(tmp_path)
    assert result.returncode == 1
    assert "no repository of vqad: open the notebook in it, or set VQAD_SOURCE" in result.stderr
