"""Tables of ``benchmarks/surfaces.py``: figures of runs, and their mean and spread over seeds."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqad.errors import VqadError
from vqad.paths import write_atomic

FIGURES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "pixel_ap": "pixel AP",
    "pixel_aupro": "AUPRO",
    "pixel_aupimo": "AUPIMO",
}
ALL = "mean of surfaces"
UNDEFINED = "n.d."


def read_figures(path: Path) -> dict[str, Any]:
    """The figures of all images from a file that ``vqad.evaluation.report.write_json`` wrote.

    Returns:
      ``images``; ``figures`` and ``intervals`` by the keys of ``FIGURES``, each None if undefined.

    Raises:
      VqadError: the file holds something else.
    """
    try:
        overall = json.loads(path.read_bytes())["overall"]
        intervals = overall["intervals"]
        found = {
            "images": int(overall["images"]),
            "figures": {key: _number(overall[key]) for key in FIGURES},
            "intervals": {
                key: intervals[key] and [_number(end) for end in intervals[key]] for key in FIGURES
            },
        }
        if any(ends and len(ends) != 2 for ends in found["intervals"].values()):
            raise ValueError("an interval has two ends")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise VqadError(
            f"{path}: holds no figures of an evaluation ({error}); delete its folder and run again"
        ) from error
    return found


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise ValueError(f"{value!r} is no figure")
    return value


def summarize(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds of each method on each surface, then means of surfaces.

    Args:
      rows: of runs, with ``surface``, ``method``, ``seed``, ``minutes`` and ``read_figures``.

    Returns:
      A row for each method of each surface: ``surface``, ``method``, ``runs``; ``figures`` and
      ``minutes`` as ``mean``, ``deviation`` (of a sample; None of one run), ``lowest`` and
      ``highest``, or None where a run's figure is undefined. Of a method with figures on all of
      several surfaces, a row with the means of its means.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["surface"], row["method"]), []).append(row)
    found = [
        {
            "surface": surface,
            "method": method,
            "runs": len(group),
            "figures": {key: _spread([row["figures"][key] for row in group]) for key in FIGURES},
            "minutes": _spread([row["minutes"] for row in group]),
        }
        for (surface, method), group in groups.items()
    ]
    surfaces = {row["surface"] for row in rows}
    for method in dict.fromkeys(row["method"] for row in rows):
        group = [row for row in found if row["method"] == method]
        if len(group) == len(surfaces) > 1:
            found.append(
                {
                    "surface": ALL,
                    "method": method,
                    "runs": sum(row["runs"] for row in group),
                    "figures": {key: _mean([r["figures"][key] for r in group]) for key in FIGURES},
                    "minutes": _mean([row["minutes"] for row in group]),
                }
            )
    return found


def _spread(values: Sequence[float | None]) -> dict[str, float | None] | None:
    if None in values:
        return None
    return {
        "mean": statistics.fmean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "lowest": min(values),
        "highest": max(values),
    }


def _mean(spreads: Sequence[Mapping[str, float | None] | None]) -> dict[str, float | None] | None:
    """The mean of means, whose spread would be one of surfaces and not of seeds."""
    if None in spreads:
        return None
    mean = statistics.fmean(spread["mean"] for spread in spreads)
    return {"mean": mean, "deviation": None, "lowest": None, "highest": None}


def runs_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table with a line for each run, its figures with their 95 % intervals."""

    def cell(value: float | None, ends: Sequence[float] | None) -> str:
        if value is None:
            return UNDEFINED
        return f"{value:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")

    return _markdown(
        ["surface", "method", "seed", *FIGURES.values(), "minutes"],
        [
            [
                row["surface"],
                row["method"],
                str(row["seed"]),
                *(cell(row["figures"][key], row["intervals"][key]) for key in FIGURES),
                f"{row['minutes']:.1f}",
            ]
            for row in rows
        ],
    )


def summary_table(summary: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table of what ``summarize`` returns: mean ± standard deviation over seeds."""

    def cell(spread: Mapping[str, float | None] | None, digits: int) -> str:
        if spread is None:
            return UNDEFINED
        deviation = spread["deviation"]
        after = "" if deviation is None else f" ± {deviation:.{digits}f}"
        return f"{spread['mean']:.{digits}f}{after}"

    return _markdown(
        ["surface", "method", "runs", *FIGURES.values(), "minutes"],
        [
            [
                row["surface"],
                row["method"],
                str(row["runs"]),
                *(cell(row["figures"][key], 3) for key in FIGURES),
                cell(row["minutes"], 1),
            ]
            for row in summary
        ],
    )


def write_tables(out: Path, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    """Writes ``surfaces.json`` and ``surfaces.md``; returns the text of the latter.

    Args:
      out: their folder.
      rows: as of ``summarize``.
      about: what was run, of JSON types; ``image_size`` and ``cores`` are told in the text.

    Raises:
      VqadError: they cannot be written.
    """
    summary = summarize(rows)
    content = json.dumps({"about": about, "runs": rows, "summary": summary}, indent=2)
    height, width = about["image_size"]
    text = "\n\n".join(
        [
            f"Evaluated at {height} x {width} (height x width); in brackets the 95 % interval over "
            f"test images. Minutes are those of whole runs on {about['cores']} CPU cores.",
            runs_table(rows),
            "Mean ± standard deviation over seeds:",
            summary_table(summary),
        ]
    )
    try:
        write_atomic(out / "surfaces.json", (content + "\n").encode())
        write_atomic(out / "surfaces.md", (text + "\n").encode())
    except OSError as error:
        raise VqadError(f"--out={out}: cannot be written ({error})") from error
    return text


def _markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns stand below each other in plain text too."""
    lines = [titles, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, *rest = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join([first, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rest])
