"""Measures a trained model: python -m benchmarks.limits RUN SURFACE; see the package for tables."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

import benchmarks.limits
import vqad
from benchmarks.limits import picture
from benchmarks.limits.bands import measure_bands
from benchmarks.limits.ceilings import measure_ceilings
from benchmarks.limits.contrast import contrast_maps, measure_contrast
from benchmarks.limits.drawn import measure_drawn, trained_settings
from benchmarks.limits.links import Links
from benchmarks.limits.neighbours import measure_neighbours
from benchmarks.limits.scores import measure_scores
from benchmarks.limits.surface import LabelledImages, read_held_aside, read_test
from benchmarks.limits.tables import Table
from vqad.errors import VqadError, printable
from vqad.paths import write_atomic
from vqad.prediction.detector import Detector

HELD_ASIDE = 128
_SCORED = ("|I_gen - I_spc|", "|I - I_spc|")  # beside M and M_up


def measure(
    trained: Detector, part: LabelledImages, held: np.ndarray, drawn: int, steps: int, batch: int
) -> Iterator[Table]:
    """Measures everything, table by table.

    Args:
      trained: the model.
      part: the test part, of the model's size.
      held: good images held aside, uint8 [m, h, w, 3].
      drawn: images that anomalies are drawn into.
      steps: of each retraining; 0 leaves ``ceilings`` out.
      batch: images at a time.

    Yields:
      The tables, each as soon as it is measured.
    """
    links = Links(trained.model, trained.variables, batch)
    seen = links.look(part.images)
    image = part.images.astype(np.float32) / 255
    good = ~part.defective
    names = ("I_gen", "I_spc", "codes")
    yield measure_bands(image[good], {name: seen[name][good] for name in names})
    yield from measure_drawn(links, part.images[good], drawn, trained_settings(trained.metadata))
    maps = contrast_maps(image, seen["I_gen"], seen["I_spc"])
    yield from measure_contrast(maps, part)
    if steps:
        pairs = {
            "I_spc, I_gen": (seen["I_spc"], seen["I_gen"]),
            "I_spc, I": (seen["I_spc"], image),
            "I, I": (image, image),
        }
        own = {"params": trained.variables["params"]["detector"]}
        yield measure_ceilings(trained.model, pairs, seen["M"], part, steps, own)
    aside = links.look(held)
    aside |= contrast_maps(held.astype(np.float32) / 255, aside["I_gen"], aside["I_spc"])
    scored = ("M", "M_up", *_SCORED)
    both = ({name: found[name] for name in scored} for found in (seen | maps, aside))
    yield from measure_scores(*both, part.defective, trained.model.score_window)
    yield measure_neighbours(trained.model, trained.variables, part.images, held, part.defective)


def write(folder: Path, tables: dict[str, Table], about: dict) -> None:
    """Writes ``limits.json``, ``limits.md`` and, with Matplotlib, ``limits.png``."""
    content = {"about": about, "tables": {key: t.content() for key, t in tables.items()}}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomic(folder / "limits.json", text.encode())
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    parts = ["# Limits of a trained model", facts, *(t.markdown() for t in tables.values())]
    write_atomic(folder / "limits.md", ("\n\n".join(parts) + "\n").encode())
    try:
        drawing = picture.draw(tables, f"{about['model']} on {about['surface']}")
    except ModuleNotFoundError:
        print("no picture without Matplotlib: pip install matplotlib", file=sys.stderr)
        return
    write_atomic(folder / "limits.png", drawing)


def _whole_number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.limits",
        description=benchmarks.limits.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="RUN", help="a run's workdir or a safetensors export")
    parser.add_argument("surface", metavar="SURFACE", help="folder or tfds:<name>")
    parser.add_argument("--out", help="folder for the results (RUN_limits)")
    number = {"type": _whole_number, "metavar": "N"}
    parser.add_argument("--images", default=0, help="test images at most, 0 for all (0)", **number)
    parser.add_argument("--drawn", default=48, help="images with drawn anomalies (48)", **number)
    parser.add_argument("--steps", default=200, help="of a retraining, 0 for none (200)", **number)
    parser.add_argument("--batch", default=8, help="images at a time (8)", **number)
    args = parser.parse_args(argv)
    if not args.drawn or not args.batch:
        parser.error("--drawn and --batch: give at least 1")
    return args


def main(argv: list[str] | None = None) -> None:
    """Measures, prints each table and writes all of them."""
    args = _arguments(argv)
    begun = time.perf_counter()
    trained = vqad.load(args.model)
    size = tuple(trained.image_size)
    part = read_test(args.surface, size, args.images)
    held, aside = read_held_aside(args.surface, size, trained, HELD_ASIDE)
    kind = "not trained on" if aside else "trained on, for the run held none out"
    about = {
        "model": args.model,
        "step": trained.metadata.get("step"),
        "weights": trained.metadata.get("weights"),
        "surface": args.surface,
        "image_size": list(size),
        "good test images": int((~part.defective).sum()),
        "defective test images": int(part.defective.sum()),
        "good images held aside": f"{len(held)}, {kind}",
        "images with drawn anomalies": args.drawn,
        "steps of a retraining": args.steps,
        "device": jax.devices()[0].device_kind,
    }
    tables = {}
    for table in measure(trained, part, held, args.drawn, args.steps, args.batch):
        tables[table.key] = table
        print(f"{table.markdown()}\n", flush=True)
        print(f"{time.perf_counter() - begun:.0f} s: {table.key}", file=sys.stderr)
    about["seconds"] = round(time.perf_counter() - begun)
    folder = Path(args.out or f"{args.model.rstrip('/')}_limits")
    write(folder, tables, about)
    print(f"written: {', '.join(map(str, sorted(folder.glob('limits.*'))))}", file=sys.stderr)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        main()
    except VqadError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
