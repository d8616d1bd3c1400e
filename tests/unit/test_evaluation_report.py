import errno
import json
import os
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from PIL import Image

from vqad.config import base_config
from vqad.errors import VqadError
from vqad.evaluation.cases import COLUMNS, GAP, LINE, PANEL, Case, contact_sheet
from vqad.evaluation.evaluate import is_evaluated
from vqad.evaluation.figures import Figures, Protocol
from vqad.evaluation.predictions import Evaluation
from vqad.evaluation.report import format_table, write_json

ABOUT = {"checkpoint": "run/checkpoints/90", "step": 90, "config": "demo"}


NAMES = [field.name for field in fields(Figures)][:-2]


def _figures(first, images):
    values = [None if first is None else first - i / 100 for i in range(len(NAMES))]
    intervals = {
        name: None if value is None else (value - 0.1, value + 0.1)
        for name, value in zip(NAMES, values, strict=True)
    }
    return Figures(*values, images, intervals)


@pytest.fixture
def evaluation():
    return Evaluation(
        overall=_figures(0.8, 12),
        classes={"crack": _figures(0.7, 5), "a long class name": _figures(None, 0)},
        centre=None,
        images=12,
        seconds_per_image=0.0125,
        cases={},
    )


def _case(name="001.png", shape=(PANEL, PANEL)):
    truth = np.zeros(shape, np.uint8)
    truth[: shape[0] // 2] = 1
    mask = np.zeros(shape, np.float32)
    mask[:, : shape[1] // 2] = 1
    return Case(
        class_name="crack",
        name=name,
        score=0.875,
        image=np.full((*shape, 3), 100, np.uint8),
        truth=truth,
        mask=mask,
        general=np.full((*shape, 3), (0, 200, 0), np.uint8),
        specific=np.full((*shape, 3), (0, 0, 200), np.uint8),
    )


def _read(path):
    with Image.open(path) as sheet:
        return np.array(sheet.convert("RGB"))


def test_json_round_trip(evaluation, tmp_path):
    path = tmp_path / "new" / "evaluation.json"
    write_json(evaluation, path, ABOUT)
    content = json.loads(path.read_text())
    assert content["about"] == ABOUT
    assert content["overall"] == json.loads(json.dumps(asdict(evaluation.overall)))
    assert content["overall"]["image_auroc"] == 0.8
    assert content["overall"]["intervals"]["image_auroc"] == pytest.approx([0.7, 0.9])
    assert list(content["classes"]) == list(evaluation.classes)
    assert content["classes"]["a long class name"]["pixel_ap"] is None
    assert content["classes"]["a long class name"]["intervals"]["pixel_ap"] is None
    assert content["centre_224"] is None
    assert "of 256 x 256 alone" in content["centre_224_not_defined"]
    assert content["images"] == 12
    assert content["seconds_per_image"] == 0.0125


def test_what_an_older_version_evaluated_is_evaluated_anew(evaluation, tmp_path):
    config = base_config()
    checkpoint, path = tmp_path / "stage3", tmp_path / "evaluation.json"
    about = {
        "checkpoint": str(checkpoint),
        "step": None,
        "surface": config.surface,
        "image_size": list(config.image_size),
        "score_window": config.model.score_window,
        "seed": config.seed,
        "reinitialized": "",
        "figures": 4,
    }
    for key in ("figures", "score_window", None):
        write_json(evaluation, path, {k: v for k, v in about.items() if k != key})
        assert is_evaluated(config, tmp_path, checkpoint) == (key is None)


def test_json_of_both_protocols(evaluation, tmp_path):
    centre = Protocol(_figures(0.6, 12), {"crack": _figures(0.5, 5)})
    write_json(replace(evaluation, centre=centre), tmp_path / "evaluation.json", ABOUT)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["overall"]["image_auroc"] == 0.8
    assert content["centre_224"]["overall"]["image_auroc"] == 0.6
    assert content["centre_224"]["classes"]["crack"]["images"] == 5
    assert "centre_224_not_defined" not in content


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_keeps_the_old_file(evaluation, tmp_path, monkeypatch, step):
    path = tmp_path / "evaluation.json"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(VqadError, match=r"evaluation\.json: cannot be written \(No space left"):
        write_json(evaluation, path, ABOUT)
    with pytest.raises(VqadError, match="cannot be written"):
        contact_sheet({"missed": [_case()]}, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["evaluation.json"]


def test_a_folder_that_cannot_be_made_is_one_line(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VqadError, match="cannot be written"):
        write_json(evaluation, tmp_path / "file" / "evaluation.json", ABOUT)


def test_table_is_aligned_and_names_what_is_undefined(evaluation):
    centre = Protocol(_figures(0.6, 12), {"crack": _figures(0.5, 5)})
    for of, rows in ((evaluation, 8), (replace(evaluation, centre=centre), 13)):
        lines = format_table(of).splitlines()
        assert {len(line) for line in lines[:rows]} == {len(lines[0])}
        assert len(lines[0]) < 100
        assert lines[1].split() == [
            *("class", "images", "AUROC", "AP", "F1max", "R@1%", "R@5%"),
            *("AUROC", "AP", "F1max", "AUPRO", "AUPIMO"),
        ]
        assert lines[3].split()[:4] == ["crack", "5", "0.700", "0.690"]
        assert lines[4].split()[-11:] == ["0", *["n.d."] * 10]
        assert lines[5].split() == ["all", "12", *(f"{0.8 - i / 100:.3f}" for i in range(10))]
        assert lines[6].split()[3:5] == ["0.700", "0.690"]
        assert lines[7].split()[1:3] == ["0.900", "0.890"]
        assert "7 good images" in lines[rows]
        assert "not defined" in lines[rows + 1]
        assert "0.0125 s" in lines[rows + 2]
    assert "centre 224 x 224" in lines[8]
    assert lines[10].split()[:3] == ["all", "12", "0.600"]


def test_sheet_shows_each_panel_in_its_place(tmp_path):
    path = tmp_path / "cases.png"
    contact_sheet({"missed": [_case(), _case("002.png")], "quiet": []}, path)
    sheet = _read(path)
    step = PANEL + GAP
    top = GAP + LINE + LINE + GAP + LINE  # titles, heading, caption
    height = (
        top + 2 * (PANEL + GAP) + LINE + (LINE + GAP) + LINE
    )  # caption, heading, "no such images"
    assert sheet.shape == (height, GAP + len(COLUMNS) * step, 3)

    for first in (top, top + PANEL + GAP + LINE):
        upper, lower, left, right = first + 40, first + PANEL - 40, 40, PANEL - 40
        panels = [sheet[:, GAP + i * step : GAP + i * step + PANEL] for i in range(len(COLUMNS))]
        image, truth, mask, general, specific = panels
        assert (image[first : first + PANEL] == 100).all()
        assert tuple(truth[upper, left]) == (255, 40, 40)
        assert tuple(truth[lower, left]) == (50, 50, 50)
        assert tuple(mask[upper, left]) == (255, 255, 255)
        assert tuple(mask[upper, right]) == (0, 0, 0)
        assert tuple(general[upper, left]) == (0, 200, 0)
        assert tuple(specific[upper, left]) == (0, 0, 200)
    captions = sheet[top - LINE : top]
    assert (captions < 100).any()


def test_mask_brightness_rises_with_the_score(tmp_path):
    case = _case(shape=(PANEL, PANEL))
    case.mask[:] = np.linspace(0, 1, PANEL)
    contact_sheet({"found": [case]}, tmp_path / "cases.png")
    sheet = _read(tmp_path / "cases.png").astype(int)
    left, row = GAP + 2 * (PANEL + GAP), -GAP - PANEL // 2
    shades = sheet[row, left : left + PANEL].sum(-1)
    assert (np.diff(shades) >= 0).all()
    assert shades[0] < 10
    assert shades[-1] > 750


def test_long_pictures_keep_their_proportions(tmp_path):
    contact_sheet({"found": [_case("x" * 500, shape=(640, 256))]}, tmp_path / "cases.png")
    assert _read(tmp_path / "cases.png").shape[1] == GAP + len(COLUMNS) * (
        round(256 * PANEL / 640) + GAP
    )


def test_no_cases_at_all_still_make_a_sheet(tmp_path):
    contact_sheet({"missed": [], "found": []}, tmp_path / "cases.png")
    assert _read(tmp_path / "cases.png").shape[0] == GAP + LINE + 2 * (LINE + GAP + LINE)
