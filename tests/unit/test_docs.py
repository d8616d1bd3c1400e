"""The documentation: its examples run, commands and fields exist, numbers are the code's."""

import doctest
import functools
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from argparse import ArgumentParser

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT
from PIL import Image
from tiny import tiny_config

import vqad
from vqad.checkpoints import save_weights
from vqad.cli import COMMANDS, parse
from vqad.commands import train
from vqad.commands.flags import load_config
from vqad.config import base_config, model_from_config
from vqad.data.builders import BUILDERS
from vqad.data.builders.base import published
from vqad.data.builders.ksdd2 import labelled_ids
from vqad.data.surface_demo.builder import PICTURES, TEST_TILES, TRAIN_TILES
from vqad.data.surface_demo.folders import write_tiles
from vqad.prediction import jitted

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "vqad").rglob("*.py"))
    if ">>> " in path.read_text()
]
FENCE = re.compile(
    r"^(?:<!-- (?P<mark>not run: .+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```", re.M | re.S
)
# Of ml_collections, which loads configurations so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
LAUNCHER_FLAGS = {"workdir", "mode", "distributed", "coordinator", "processes", "process", "help"}


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page, kind):
    return [found for found in FENCE.finditer(page.read_text()) if found["kind"] == kind]


def commands(page):
    """The commands of a page's shell blocks, each as its words."""
    for block in blocks(page, "bash"):
        for line in block["text"].replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                yield shlex.split(part, comments=True)


def spans(page):
    """What stands in a page as code within a line."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text()))


def write_model(folder):
    """A small model of random weights, for which nothing has to be compiled."""
    config = tiny_config()
    model = model_from_config(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda array: rng.normal(0, 0.1, array.shape).astype(np.float32),
        {name: shapes[name] for name in ("params", "codebook")},
    )
    metadata = {"model": config.model.to_dict(), "config": {"image_size": [64, 64]}}
    save_weights(str(folder), variables, metadata)


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """Each load of the same model would compile the same programs again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jitted, "jit_predict", functools.cache(jitted.jit_predict))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what examples take for granted: a model in runs/demo, pictures and tiles."""
    folder = tmp_path_factory.mktemp("docs")
    write_model(folder / "runs" / "demo")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i in (1, 2):
        image = rng.integers(0, 256, (96, 80, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "pictures" / f"{i}.png")
    write_tiles(folder / "tiles", train=1, good=2, defective=1)
    return folder


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module, place, monkeypatch):
    monkeypatch.chdir(place)
    flags = doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(importlib.import_module(module), optionflags=flags)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_api_in_python_has_examples():
    from vqad.prediction.detector import Detector

    assert ">>> " in inspect.getdoc(Detector.predict)
    for each in (vqad.load, vqad.evaluate, vqad.Trainer, vqad.train):
        assert re.search(r">>> import vqad|```python\n *import vqad", inspect.getdoc(each))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name)
def test_python_blocks(page, place, monkeypatch):
    monkeypatch.chdir(place)
    for block in blocks(page, "python"):
        code = compile(block["text"], f"{name(page)}: {block['text'].splitlines()[0]}", "exec")
        if not block["mark"]:
            exec(code, {})


def check_launch(words):
    """A command of the launcher: flags that exist, a configuration that can be made of them."""
    config = [word for word in words if word.startswith("--config")]
    config[0] = config[0].replace("=configs/", f"={ROOT}/configs/")
    load_config(config)
    rest = [word for word in words if word not in words[:2] and not word.startswith("--config")]
    assert {re.match(r"--(\w+)", word)[1] for word in rest} <= LAUNCHER_FLAGS


def check_vqad(words):
    """A command of vqad: a subcommand that takes these arguments."""
    args = parse(words[1:])
    if (getattr(args, "config", None) or "").startswith("configs/"):
        args.config = f"{ROOT}/{args.config}"
    if words[1] == "train":
        train.configuration(args)
    elif getattr(args, "config", None):  # vqad evaluate RUN has that of a run
        load_config([f"--config={args.config}", *args.fields])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_in_shell_blocks(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        if words[:1] == ["vqad"]:
            check_vqad(words)
        elif "launch/main.py" in words[:2]:
            check_launch(words)
        elif words[:1] == ["python"] and words[1].endswith(".py"):
            assert words[1] in ("launch/main.py",) or (ROOT / words[1]).is_file()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_in_the_text(page):
    """Subcommands, their flags, fields of the configuration and configurations exist."""
    fields = dict(base_config().items())
    sections = [key for key, value in fields.items() if hasattr(value, "items")]
    known = {
        option
        for command in COMMANDS.values()
        for action in arguments(command)
        for option in action.option_strings
    }
    for span in spans(page):
        if found := re.match(r"vqad ([a-z][\w-]*)", span):
            assert found[1] in COMMANDS, span
            options = re.findall(r"(?<=\s)--(?!config\b)[\w-]+", span)
            assert {option.replace("_", "-") for option in options} <= known, span
        if span.endswith((".json", ".jsonl", ".py")):
            continue
        pattern = rf"--config\.([\w.]+)|config\.([a-z_.]+)|((?:{'|'.join(sections)})\.[a-z_]+)"
        if found := re.match(rf"(?:{pattern})(?=[ =`]|$)", span):
            at = base_config()
            for part in next(filter(None, found.groups())).split("."):
                assert part in at, span
                at = at[part]
    for file in re.findall(r"configs/\w+\.py", page.read_text()):
        assert (ROOT / file).is_file(), file
    for found in re.findall(r"(?<=configs/)(stage[23])\.py:([\w/]*\w)", page.read_text()):
        load_config([f"--config={ROOT}/configs/{found[0]}.py:{found[1]}"])


def arguments(command):
    parser = ArgumentParser()
    command.arguments(parser)
    return parser._actions


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_versions_are_said_alike():
    """The package, the changelog and the citation; ruff in CI and before commits."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[(\d[\d.]*)\]", changelog, re.M)[1] == vqad.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {vqad.__version__}\n" in citation
    wanted = re.search(r"^ruff==.+$", (ROOT / ".ci/constraints.txt").read_text(), re.M)[0]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"ruff==[\d.]+", hooks) == [wanted, wanted]


def test_pictures_are_small():
    pictures = sorted((ROOT / "docs" / "pictures").glob("*.png"))
    assert len(pictures) >= 4
    assert all(picture.stat().st_size < 150_000 for picture in pictures)


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / path).resolve() for path in links(index)}
    data_sets = ROOT / "docs" / "datasets"
    listed |= {(data_sets / path).resolve() for path in links(data_sets / "README.md")}
    assert listed >= {page.resolve() for page in DOCS if page != index}


def links(page):
    return re.findall(r"\]\(([\w./]+\.md)", page.read_text())


def rows(data_set):
    """The rows of the tables on a data set's page, by their first cells."""
    text = (ROOT / "docs" / "datasets" / f"{data_set}.md").read_text()
    cells = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return {row[0]: row[1:] for row in cells}


@pytest.mark.parametrize("data_set", [*BUILDERS, "surface_demo", "imagenet2012", "folders"])
def test_every_data_set_has_a_page(data_set):
    page = ROOT / "docs" / "datasets" / f"{data_set}.md"
    text = page.read_text()
    assert text.startswith(f"# {data_set}\n") or data_set == "folders"
    assert "## Tried" in text
    if data_set in BUILDERS:
        assert f"vqad prepare {data_set}" in text
        homepage = BUILDERS[data_set].HOMEPAGE
        assert homepage is None or homepage in text
        noncommercial = "non-commercial" in BUILDERS[data_set].MANUAL_DOWNLOAD_INSTRUCTIONS
        assert ("For non-commercial use" in text.replace("\n", " ")) == noncommercial


def test_numbers_of_the_data_sets(tmp_path):
    builder = BUILDERS["ksdd2"](config="unsupervised", data_dir=tmp_path)
    counts = builder.expected()
    test = [str(counts["test good"]), str(counts["test defective"])]
    good = str(counts["train good"])
    found = rows("ksdd2")
    assert found["unsupervised"] == [good, "0", *test]
    for number, ids in labelled_ids().items():
        assert found[f"supervised_{number}"] == [good, str(len(ids)), *test]
    assert {config.name for config in builder.BUILDER_CONFIGS} <= found.keys()
    found = rows("mvtec_ad")
    kinds = ("train good", "test good", "test defective")
    for category, known in published()["mvtec_ad"]["NUMBERS"].items():
        counts = [str(known[kind]) for kind in kinds]
        assert found[category] == [*counts, ", ".join(known["defects"])]
    found = rows("visa")
    for thing, known in published()["visa"]["NUMBERS"].items():
        assert found[thing] == [str(known[kind]) for kind in kinds]
    found = rows("magnetic_tile")
    numbers = BUILDERS["magnetic_tile"](data_dir=tmp_path).expected()
    assert {key: found[key] for key in numbers} == {k: [str(n)] for k, n in numbers.items()}
    text = (ROOT / "docs" / "datasets" / "kolektor_sdd.md").read_text()
    counts = BUILDERS["kolektor_sdd"](data_dir=tmp_path).expected()
    assert f"{counts['good']} good and {counts['defect']} defective" in text
    text = (ROOT / "docs" / "datasets" / "surface_demo.md").read_text()
    assert f"| train | {PICTURES} |" in text
    assert f"| train | {TRAIN_TILES} good |" in text
    kinds = ", ".join(list(TEST_TILES)[1:])
    assert f"| test | {TEST_TILES['good']} good, {TEST_TILES['pit']} each of {kinds} |" in text


def test_the_method_names_what_is_there():
    """Names in code on the page about the method are names in the modules that it links to."""
    page = ROOT / "docs" / "method.md"
    sources = "".join(
        (page.parent / link).resolve().read_text()
        for link in set(re.findall(r"\]\((\.\./vqad/[\w/]+\.py)\)", page.read_text()))
    )
    called = [span for span in spans(page) if re.fullmatch(r"[A-Z]\w+(\.\w+)?|\w+_\w+", span)]
    assert len(called) > 8
    for span in called:
        assert all(re.search(rf"\b{part}\b", sources) for part in span.split(".")), span


def test_site_is_built_without_warnings(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    for page, names in {
        "vqad": [],
        "vqad/prediction/detector": ["Detector.predict", "Prediction"],
        "vqad/interop/load": ["load"],
        "vqad/models/dsr": ["Dsr.__call__", "Inference"],
        "vqad/anomalies/features": ["replace_codes"],
        "vqad/stages/losses": ["focal_loss"],
        "vqad/data/builders/data_sets": [],
        "vqad/evaluation/metrics": ["pixel_figures"],
        "vqad/interop/import_weights": ["import_weights"],
        "vqad/plan/work": [],
    }.items():
        text = (tmp_path / "api" / page / "index.html").read_text()
        module = page.replace("/", ".")
        assert all(f'id="{module}.{name}"' in text for name in names), page
    assert not (tmp_path / "api" / "vqad" / "commands").exists()
    # On the site a file of the package is its page, and no link leads out of the site.
    method = (tmp_path / "method" / "index.html").read_text()
    assert 'href="../api/vqad/models/unet/#vqad.models.unet.UNet"' in method
    assert ".py)" not in method and not re.search(r'href="[./]*(vqad|configs)/', method)
