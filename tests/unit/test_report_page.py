"""The page of `vqad report`: what is in it, and that nothing in a name gets out of its place."""

import base64
import io
import json
import os
import re
import shutil
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
from made_up_report import CLASSES, HOSTILE, SETTINGS, evaluation, made_up_report
from PIL import Image
from sklearn.metrics import f1_score, roc_auc_score
from small_model import write_small_model
from tiny import tiny_config

from vqad.cli import main
from vqad.commands import report as report_command
from vqad.data.sources import open_source
from vqad.errors import VqadError
from vqad.evaluation.evaluate import evaluate
from vqad.prediction import thresholds
from vqad.prediction.pictures import COLOUR
from vqad.report.page import Card, best_f1_threshold, render
from vqad.report.pictures import TRUTH_COLOUR, drawing, thumbnail
from vqad.report.stored import check_cards


class Page(HTMLParser):
    """The page's elements, and the text of those that have an id or are the config."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, [""]
        self.feed(content.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open.append(dict(attributes).get("id", tag))

    def handle_data(self, text):
        self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + text

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)

    def data(self):
        return json.loads(self.texts["data"])


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.fixture(scope="module")
def made_up():
    return made_up_report(30, shape=(48, 40))


def test_hostile_names_stay_text(made_up):
    content, cards = made_up
    page = Page(content)
    assert page.count("script") == 2
    assert page.count("b") == 2  # those of the template
    data = page.data()
    assert data["classes"] == list(CLASSES)
    assert data["images"][0][:3] == [cards[0].class_id, HOSTILE, cards[0].score]
    assert [tuple(row[1:3]) for row in data["images"]] == [(c.name, c.score) for c in cards]
    assert json.loads(page.texts["pre"]) == SETTINGS


def test_names_that_are_not_unicode_are_written():
    about = evaluation((32, 32), 1)
    about["about"]["surface"] = "/data/t\udce9l"
    assert b"/data/t\\udce9l" in render(about, {}, CLASSES, made_up_report(2)[1], None)


def test_nothing_is_asked_of_the_network(made_up):
    content = made_up[0].decode()
    assert set(re.findall(r"https?://[^\"'<\s]*", content)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")", content)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)', content)[1]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_what_the_first_threshold_is_of(made_up):
    content, cards = made_up
    assert Page(content).data()["calibrated"] == 0.41
    assert "of good images like its 60" in content.decode()
    without = render(evaluation((48, 40), 30), {}, CLASSES, cards, None)
    assert Page(without).data()["calibrated"] is None
    assert "that is optimistic" in without.decode()


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_higher_f1(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, 40) / 12
    labels = rng.random(40) < (0.3 if seed else 1)
    best = f1_score(labels, scores > best_f1_threshold(scores, labels))
    assert best == max(f1_score(labels, scores > limit) for limit in [-1, *scores[scores < 1]])


def test_pictures_fit_their_side_and_small_ones_stay():
    image = np.full((64, 32, 3), (200, 100, 50), np.uint8)
    small = decoded(thumbnail(image, 16))
    assert (small.size, small.format) == ((8, 16), "WEBP")
    assert decoded(thumbnail(image, 100)).size == (32, 64)
    np.testing.assert_allclose(np.asarray(small)[8, 4], (200, 100, 50), atol=6)


def test_a_defect_of_one_pixel_is_drawn():
    values, truth = np.zeros((2, 64, 64), np.float32)
    values[32:48, :16] = 0.49
    values[9, 9] = 0.51
    truth[41, 41] = 1
    picture = decoded(drawing(values, 0.5, truth, 16))
    assert (picture.size, picture.format) == ((16, 16), "PNG")
    drawn = np.asarray(picture.convert("RGBA"))
    assert tuple(drawn[2, 2]) == (*COLOUR, 255)
    for row, column in ((9, 10), (11, 10), (10, 9), (10, 11)):  # around the truth's (10, 10)
        assert tuple(drawn[row, column]) == (*TRUTH_COLOUR, 255)
    assert tuple(drawn[9, 1][:3]) == COLOUR
    assert 0.25 < drawn[9, 1][3] / 255 < 0.35
    assert drawn[15, 15][3] == drawn[10, 10][3] == 0


def test_figures_of_any_name_are_shown(made_up):
    found = evaluation((256, 256), 30)

    def shown():
        return render(found, {}, CLASSES, made_up[1], None).decode()

    html = shown()
    for text in (
        "image recall at 5\u00a0%",
        "0.932",
        "0.901 to 0.955",
        "not defined",
        "centre 224",
    ):
        assert text in html
    assert "&lt;/script&gt;&lt;b&gt;" in html
    assert html.count("95 %") == 1  # the centre's figures here have no intervals
    found["classes"]["scratch"]["images"] = "<i>"
    assert "<td>&lt;i&gt;</td>" in shown()
    del found["centre_224"], found["overall"]["intervals"]
    assert "95 %" not in shown()


def test_text_stands_out_in_light_and_dark():
    css = resources.files("vqad.report").joinpath("page.css").read_text()
    themes = [dict(re.findall(r"--(\w+): #(\w{6})", part)) for part in css.split("@media")[:2]]
    assert len(themes) == 2

    def luminance(colour):
        parts = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    for theme in themes:
        for behind in ("back", "panel"):
            for name, wanted in (
                *((name, 4.5) for name in ("text", "quiet", "bad", "truth", "map")),
                *((name, 3) for name in ("good", "accent")),
            ):
                dark, light = sorted(luminance(theme[key]) for key in (name, behind))
                assert (light + 0.05) / (dark + 0.05) >= wanted, (name, behind)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir of a evaluated model, and the surface."""
    root = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    for place, count in (("train/good", 2), ("test/good", 4), ("test/hole", 3)):
        (root / "tiles" / place).mkdir(parents=True)
        for i in range(count):
            image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            image.save(root / "tiles" / place / f"{i}.png")
    (root / "tiles/ground_truth/hole").mkdir(parents=True)
    for i in range(3):
        mask = np.zeros((32, 32), np.uint8)
        mask[4:9, 4:9] = 255
        Image.fromarray(mask).save(root / f"tiles/ground_truth/hole/{i}_mask.png")
    folder = write_small_model(root / "work" / "stage3", lively=True)
    config = tiny_config()
    config.surface = str(root / "tiles")
    evaluate(config, str(root / "work"), str(folder))
    return root


def test_the_command_shows_what_was_evaluated(run, capsys):
    out = run / "work" / "report.html"
    limits = thresholds.Thresholds(0.5, 0.4, 0.1, 9, 0, (32, 32), False)
    path = thresholds.write(str(run / "work" / "stage3"), limits)
    try:
        assert main(["report", str(run / "work")]) == 0
        assert f"7 images, 0.0 MB; written: {out}" in capsys.readouterr().out
        data = Page(out.read_bytes()).data()
        thresholds.write(
            str(run / "work" / "stage3"),
            limits.__class__(**{**vars(limits), "tiled": True, "overlap": 8}),
        )
        assert main(["report", str(run / "work"), "--out", str(run / "other.html")]) == 0
        assert "thresholds of other scores" in capsys.readouterr().err
        assert Page((run / "other.html").read_bytes()).data()["calibrated"] is None
    finally:
        path.unlink()
    assert data["calibrated"] == 0.5
    source = open_source(str(run / "tiles"), "test", (32, 32))
    assert data["classes"] == list(source.classes)
    assert [row[1] for row in data["images"]] == [source.names(i) for i in range(7)]
    assert [row[0] for row in data["images"]] == [source[i]["class_id"] for i in range(7)]
    figures = json.loads((run / "work" / "evaluation.json").read_text())
    area = roc_auc_score([row[0] > 0 for row in data["images"]], [row[2] for row in data["images"]])
    assert area == pytest.approx(figures["overall"]["image_auroc"])
    assert f"{area:.3f}" in out.read_text()


def changed(found, part, **fields):
    return json.dumps({**found, part: {**(found[part] or {}), **fields}})


def test_what_a_checkpoint_says_of_the_run_is_not_trusted(tmp_path):
    said = {"data_dir": str(tmp_path)}
    assert report_command._data_dir(said, "tfds:ksdd2/unsupervised") == str(tmp_path)
    assert report_command._data_dir({"data_dir": 3}, "tfds:ksdd2/unsupervised") is None
    # Where nothing was drawn yet, nothing is to be drawn.
    assert report_command._data_dir(said, "tfds:surface_demo/tiles") is None
    drawn = tmp_path / "surface_demo" / "tiles" / "1.0.0"
    drawn.mkdir(parents=True)
    (drawn / "dataset_info.json").touch()
    assert report_command._data_dir(said, "tfds:surface_demo/tiles") == str(tmp_path)


def test_the_command_refuses_other_labels(run, tmp_path, capsys):
    tiles = shutil.copytree(run / "tiles", tmp_path / "tiles")
    for i in range(3):  # as many of each as before
        good, hole = (tiles / "test" / kind / f"{i}.png" for kind in ("good", "hole"))
        other = good.rename(tmp_path / "other.png")
        hole.rename(good)
        other.rename(hole)
    out = tmp_path / "page.html"
    line = ["report", str(run / "work"), f"--out={out}", f"--surface={tiles}"]
    assert main(line) == 2
    told = capsys.readouterr().err
    assert "tiles: others than were evaluated, whose image_auroc was " in told
    assert not out.exists()


def test_figures_are_compared_up_to_the_rounding_of_scores():
    def check(scores, **evaluated):
        cards = [Card(int(i > 1), str(i), score, "", "") for i, score in enumerate(scores)]
        check_cards(cards, evaluated, "tiles")

    check([0.1, 0.2, 0.3, 0.4], image_auroc=1.0, image_ap=0.9995)
    check([0.1, 0.3 + 1e-6, 0.3, 0.4], image_auroc=1.0, image_ap=1.0)
    check([0.1, 0.2], image_auroc=None, image_ap=None)  # no defective ones
    for figures in ((0.998, 1.0), (1.0, 0.998), (None, 1.0), (1.0, None)):
        with pytest.raises(VqadError, match="tiles: others than were evaluated"):
            check(
                [0.1, 0.2, 0.3, 0.4], **dict(zip(("image_auroc", "image_ap"), figures, strict=True))
            )
    with pytest.raises(VqadError, match="whose image_auroc was 1"):
        check([0.1, 0.2], image_auroc=1.0, image_ap=1.0)


def test_the_command_refuses_what_was_not_evaluated(run, tmp_path, capsys):
    def refused(*more):
        assert main(["report", str(run / "work"), "--out", str(tmp_path / "page.html"), *more]) == 2
        assert not (tmp_path / "page.html").exists()
        return capsys.readouterr().err

    assert "is a folder" in refused("--out", str(tmp_path))
    assert "--side=8" in refused("--side=8")
    smaller = tmp_path / "tiles"
    smaller.symlink_to(run / "tiles")
    (run / "tiles/test/good/3.png").rename(run / "3.png")
    try:
        assert "6 test images, but 7 were evaluated" in refused("--surface", str(smaller))
    finally:
        (run / "3.png").rename(run / "tiles/test/good/3.png")
    path = run / "work" / "evaluation.json"
    kept = path.read_text()
    found = json.loads(kept)
    try:
        for content, message in (
            ("{", "damaged"),
            ("[]", "damaged"),
            (json.dumps({**found, "about": {}}), "damaged"),
            (json.dumps({**found, "about": {**found["about"], "step": 5}}), "is of step 5"),
            (changed(found, "about", image_size="32"), "image_size is of a wrong type"),
            (changed(found, "overall", image_ap="x"), "a figure is of a wrong type"),
            (changed(found, "classes", hole=[1]), "damaged"),
            (changed(found, "classes", hole={"images": "<b>"}), "a figure is of a wrong type"),
            (changed(found, "overall", intervals={"pixel_ap": ["0", 1]}), "a figure is of"),
            (changed(found, "centre_224", overall=3, classes={}), "damaged"),
        ):
            path.write_text(content)
            assert re.search(f"evaluation.json: .*{message}", refused())
        path.unlink()
        assert "evaluation.json: no such file" in refused()
        os.mkfifo(path)  # opened, it would be waited for
        assert "damaged or cannot be read" in refused()
        path.unlink()
    finally:
        path.write_text(kept)
