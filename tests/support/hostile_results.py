"""Hostile thresholds and evaluations beside a checkpoint; see `tests/support/hostile.py`."""

import contextlib
import json

from hypothesis import strategies as st
from made_up_report import CLASSES, evaluation, made_up_report
from mutations import changed_tree, write_tree


class Results:
    """`thresholds.json` and `evaluation.json`, and the report that is made of them."""

    def __init__(self, folder):
        from vqad.prediction import thresholds

        shape = (40, 64)
        limits = [
            thresholds.Thresholds(0.41, 0.5, 0.05, 60, 7, shape, tiled, overlap, weights=weights)
            for tiled, overlap, weights in ((False, None, None), (True, 8, 5))
        ]
        self.cards = made_up_report(6, shape)[1]
        self.sound = []
        for each in limits:
            path = thresholds.write(str(folder), each)
            evaluated = evaluation(shape, 6)
            evaluated["overall"].update(image_auroc=1.0, image_ap=1.0)  # of the cards
            content = json.dumps(evaluated).encode()
            self.sound.append({path.name: path.read_bytes(), "evaluation.json": content})
        self.samples = st.sampled_from(self.sound).flatmap(changed_tree)

    def lay(self, sample, work):
        write_tree(sample, work)

    def read(self, sample, work, strict=False):
        from vqad.errors import VqadError
        from vqad.prediction import thresholds
        from vqad.report.page import render
        from vqad.report.stored import check_cards, read_evaluation

        limits = None
        try:
            limits = thresholds.read(str(work))
        except VqadError:
            if strict:
                raise
        found = read_evaluation(str(work), 7)
        render(found, {"surface": "x"}, CLASSES, self.cards, limits)
        with contextlib.nullcontext() if strict else contextlib.suppress(VqadError):
            check_cards(self.cards, found["overall"], "x")
