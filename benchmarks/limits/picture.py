"""The tables as one picture of panels."""

import io
import math
from collections.abc import Mapping

import numpy as np

from benchmarks.limits.bands import WAVELENGTHS
from benchmarks.limits.drawn import PICTURES
from benchmarks.limits.links import SPECIFIC
from benchmarks.limits.scores import WINDOWS
from benchmarks.limits.tables import Rows, Table

_SIZE = (17, 11)  # inches


def draw(tables: Mapping[str, Table], title: str) -> bytes:
    """Draws what was measured.

    Args:
      tables: by key; those that are missing leave their panel empty.
      title: above everything.

    Returns:
      A PNG file.

    Raises:
      ModuleNotFoundError: Matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # not in vqad's default install

    figure = Figure(_SIZE, layout="constrained")
    figure.suptitle(title)
    panels = {
        "bands": _bands,
        "errors": _errors,
        "drawn": _drawn,
        "good": _effects,
        "ceilings": _ceilings,
        "scores": _scores,
    }
    for axes, (key, panel) in zip(figure.subplots(2, 3).flat, panels.items(), strict=True):
        if key not in tables:
            axes.set_axis_off()
            continue
        panel(axes, tables[key].rows)
        axes.set_title(f"{key}: {tables[key].title}", fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def _finite(value: float) -> float:
    return value if math.isfinite(value) else np.nan


def _bars(axes: object, rows: Rows, columns: Mapping[str, str]) -> None:
    """Horizontal bars: a group for each row, in each a bar for each column, by its label."""
    height = 0.8 / len(columns)
    place = np.arange(len(rows))
    for number, (column, label) in enumerate(columns.items()):
        values = [_finite(row[column]) for row in rows.values()]
        axes.barh(place + (number + 0.5) * height - 0.4, values, height, label=label)
    axes.set_yticks(place, list(rows), fontsize=8)
    axes.invert_yaxis()


def _bands(axes: object, rows: Rows) -> None:
    waves = WAVELENGTHS[:-1]
    for column in rows[waves[0]]:
        if column.startswith("relative "):
            values = [_finite(rows[wave][column]) for wave in waves]
            axes.plot(waves, values, "o-", label=column.removeprefix("relative "))
    axes.axhline(1, color="grey", linestyle=":", label="nothing is drawn")
    axes.set_yscale("log")
    axes.set_xlabel("wavelength")
    axes.set_ylabel("error power / power of I")


def _errors(axes: object, rows: Rows) -> None:
    _bars(axes, rows, {f"{name} inside": name for name in PICTURES})
    axes.set_xlabel("PSNR inside the mask, dB")


def _drawn(axes: object, rows: Rows) -> None:
    _bars(axes, rows, {f"AP {name}": name for name in SPECIFIC})
    axes.set_xlabel("pixel AP")


def _effects(axes: object, rows: Rows) -> None:
    _bars(axes, rows, {name: name for name in rows["all"]})
    axes.set_xlabel("effect size against good images")


def _ceilings(axes: object, rows: Rows) -> None:
    _bars(axes, rows, {"AP": "pixel AP", "AUROC": "image AUROC"})
    axes.set_xlim(0, 1)


def _scores(axes: object, rows: Rows) -> None:
    colours: dict[str, str] = {}
    for name, row in rows.items():
        of = name.removesuffix(" standardised")
        values = [_finite(row[f"{window} x {window}"]) for window in WINDOWS]
        (line,) = axes.plot(
            WINDOWS, values, "o-" if of == name else "x--", color=colours.get(of), label=name
        )
        colours[of] = line.get_color()
    axes.set_xlabel("window, pixels")
    axes.set_ylabel("image AUROC")
