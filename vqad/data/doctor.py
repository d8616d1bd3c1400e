"""Examines a folder or a prepared data set whole and says what training will do with it."""

import json
from collections import Counter
from typing import Any, NamedTuple

from vqad.data.checks import examine_split, leaks
from vqad.data.findings import CHECKS, Finding, NoTestSplit, example, grouped
from vqad.data.source import Source
from vqad.data.sources import find_source
from vqad.errors import VqadError


class Report(NamedTuple):
    """What was found."""

    source: str  # as it was given
    sound: bool  # whether training starts
    layout: str  # '' if that was not recognised
    classes: dict[str, Counter[str]]  # number of images by split and class
    pictures: list[dict[str, Any]]  # number of `images` by `split` and what `Header` tells
    findings: list[Finding]


def examine(spec: str, *, quick: bool = False, pictures: bool = False, **how: Any) -> Report:
    """Examines both splits of a source, as the training of a surface with the defaults reads it.

    Of `pictures`, which may lie in any tree, only what stage 1 reads. `quick` is as of
    `examine_split`, `how` as of `find_source`.
    """
    sources: dict[str, Source] = {}
    findings: list[Finding] = []
    classes, found = {}, []
    for split in ("train",) if pictures else ("train", "test"):
        try:
            source = find_source(spec, split, labelled=not pictures, tree=pictures, **how)
        except VqadError as error:
            check = "no-test" if isinstance(error, NoTestSplit) else "layout"
            findings.append(Finding(check, spec, str(error)))
            continue
        seen = examine_split(source, quick)
        findings += seen.findings
        sources[split], classes[split] = source, seen.classes
        for header, count in seen.headers.items():
            found.append({"split": split, **header._asdict(), "images": count})
    if len(sources) == 2:
        findings += leaks(sources["train"], sources["test"])
    sound = not any(finding.stops for finding in findings)
    layout = next((source.layout for source in sources.values()), "")
    # What is wrong with the folder shows in both splits.
    return Report(spec, sound, layout, classes, found, list(dict.fromkeys(findings)))


def to_json(report: Report) -> str:
    """A report as JSON, with what training does about each finding."""
    findings = [
        {**finding._asdict(), "stops": finding.stops, "training": CHECKS[finding.check].training}
        for finding in report.findings
    ]
    return json.dumps({**report._asdict(), "findings": findings}, indent=2)


def to_table(report: Report) -> str:
    """A report as aligned text: what, how many, what training does about it, and an example."""
    rows = [("what", "number", "training", "which")]
    rows.append(("layout", "", "", report.layout or "not recognised"))
    for split, classes in report.classes.items():
        rows += [(f"{split} images", str(count), "", name) for name, count in classes.items()]
    kinds: dict[tuple[str, str, int], list[dict]] = {}
    for found in report.pictures:
        kinds.setdefault((found["split"], found["mode"], found["bits"]), []).append(found)
    for (split, mode, bits), alike in kinds.items():
        low, high = (
            f"{end(f['width'] for f in alike)} x {end(f['height'] for f in alike)}"
            for end in (min, max)
        )
        sizes = low if low == high else f"{low} to {high}"
        which = f"{mode}, {bits} bits a channel, {sizes} (width x height)"
        number, does = str(sum(f["images"] for f in alike)), "resizes them to config.image_size"
        rows.append((f"{split} pictures", number, does, which))
    for check, group in grouped(report.findings):
        rows.append((check, str(len(group)), CHECKS[check].training, example(group)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.insert(1, "-" * (sum(widths[:3]) + 11))
    return "\n".join(lines)
