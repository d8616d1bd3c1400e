import errno
import json
import os

import numpy as np
import pytest
from PIL import Image

from vqad.errors import VqadError
from vqad.evaluation.judge import Case, Figures, Judgement
from vqad.evaluation.report import (
    COLUMNS,
    GAP,
    LINE,
    PANEL,
    contact_sheet,
    format_table,
    write_json,
)

ABOUT = {"checkpoint": "run/checkpoints/90", "step": 90, "config": "demo"}


@pytest.fixture
def judgement():
    return Judgement(
        overall=Figures(0.9, 0.8, 0.7, 0.6, 12),
        classes={
            "crack": Figures(0.91, 0.81, 0.71, 0.61, 5),
            "a long class name": Figures(None, None, None, None, 0),
        },
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


def test_json_round_trip(judgement, tmp_path):
    path = tmp_path / "new" / "evaluation.json"
    write_json(judgement, path, ABOUT)
    content = json.loads(path.read_text())
    assert content["about"] == ABOUT
    assert Figures(**content["overall"]) == judgement.overall
    assert {k: Figures(**v) for k, v in content["classes"].items()} == judgement.classes
    assert content["classes"]["a long class name"]["pixel_ap"] is None
    assert content["images"] == 12
    assert content["seconds_per_image"] == 0.0125


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_keeps_the_old_file(judgement, tmp_path, monkeypatch, step):
    path = tmp_path / "evaluation.json"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(VqadError, match=r"evaluation\.json: cannot be written \(No space left"):
        write_json(judgement, path, ABOUT)
    with pytest.raises(VqadError, match="cannot be written"):
        contact_sheet({"missed": [_case()]}, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["evaluation.json"]


def test_a_folder_that_cannot_be_made_is_one_line(judgement, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VqadError, match="cannot be written"):
        write_json(judgement, tmp_path / "file" / "evaluation.json", ABOUT)


def test_table_is_aligned_and_names_what_is_undefined(judgement):
    lines = format_table(judgement).splitlines()
    assert len({len(line) for line in lines[:6]}) == 1
    assert lines[0].split() == [
        *("class", "images", "image", "AUROC", "image", "AP"),
        *("pixel", "AUROC", "pixel", "AP"),
    ]
    assert lines[2].split() == ["crack", "5", "0.910", "0.810", "0.710", "0.610"]
    assert lines[3].count("not defined") == 4
    assert lines[5].split() == ["all", "12", "0.900", "0.800", "0.700", "0.600"]
    assert "7 good images" in lines[6]
    assert "0.0125 s" in lines[7]


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
