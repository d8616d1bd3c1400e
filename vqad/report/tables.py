"""The figures of `evaluation.json` as HTML, whichever figures are in it."""

import re
from collections.abc import Mapping
from html import escape
from typing import Any

_WORDS = {"ap": "AP", "auroc": "AUROC", "aupro": "AUPRO", "aupimo": "AUPIMO", "f1max": "F1max"}


def figures(evaluation: Mapping[str, Any]) -> str:
    """All figures: those of all images large, those of the classes in a table.

    Args:
      evaluation: what `vqad.evaluation.report.write_json` wrote. Beside ``overall`` and ``classes``
        it may hold more of the same kind under other names, as those of the images' centres.
        ``intervals`` of figures are shown where they are there.

    Returns:
      HTML.
    """
    parts = [_protocol(evaluation)]
    for name, value in evaluation.items():
        if isinstance(value, Mapping) and isinstance(value.get("overall"), Mapping):
            parts.append(
                f"<details><summary>{escape(title(name))}</summary>{_protocol(value)}</details>"
            )
    return "\n".join(parts)


def title(key: str) -> str:
    """What a figure is called: ``image_recall_at_5`` becomes "image recall at 5 %"."""
    words = " ".join(_WORDS.get(word, word) for word in key.split("_"))
    return re.sub(r" at (\d+)$", " at \\1\u00a0%", words)


def _protocol(found: Mapping[str, Any]) -> str:
    overall, classes = found["overall"], found.get("classes", {})
    names = [
        key
        for key, value in overall.items()
        if key != "images" and (value is None or _is_number(value))
    ]
    tiles = "".join(
        f"<div><dt>{escape(title(key))}</dt><dd>{_value(overall[key])}"
        f"{_interval(overall, key)}</dd></div>"
        for key in names
    )
    html = f'<dl class="tiles">{tiles}</dl>'
    if _intervals(overall):
        html += (
            "<p>In small: 95 % intervals, by resampling the images. They know these images only: "
            "where good and defective ones are in order, no resample shows another figure.</p>"
        )
    if not classes:
        return html
    head = "".join(f'<th scope="col">{escape(title(key))}</th>' for key in ["images", *names])
    rows = "".join(
        f'<tr><th scope="row"><bdi>{escape(name)}</bdi></th>'
        + f"<td>{escape(str(row.get('images', '')))}</td>"
        + "".join(f"<td>{_value(row.get(key))}{_interval(row, key)}</td>" for key in names)
        + "</tr>"
        for name, row in classes.items()
    )
    return (
        f'{html}<div class="scroll" tabindex="0" role="region" aria-label="figures of each class">'
        f'<table><thead><tr><th scope="col">class, against all good images</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def _intervals(row: Mapping[str, Any]) -> Mapping[str, Any]:
    intervals = row.get("intervals") or {}
    return {key: ends for key, ends in intervals.items() if ends is not None}


def _interval(row: Mapping[str, Any], key: str) -> str:
    ends = _intervals(row).get(key)
    return "" if ends is None else f" <small>{ends[0]:.3f} to {ends[1]:.3f}</small>"
