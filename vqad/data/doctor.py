"""Examines a folder or a prepared data set whole and says what training will do with it."""

import json
from collections import Counter
from typing import Any, NamedTuple

from etils import epath

from vqad.data.checks import Backend, check_both_labels, examine_split, leaks
from vqad.data.decode import Header
from vqad.data.findings import CHECKS, Finding, grouped
from vqad.data.layouts import NoTestSplit
from vqad.data.sources import TFDS_PREFIX, open_backend
from vqad.data.tree import files_below
from vqad.errors import VqadError, printable


class Report(NamedTuple):
    """What was found.

    Attributes:
      source: The folder or data set, as it was given.
      layout: How it is kept; '' if that was not recognised.
      classes: Number of images by split and class.
      pictures: Number of images by split, size, mode and bits per channel.
      findings: All that is wrong.
    """

    source: str
    layout: str
    classes: dict[tuple[str, str], int]
    pictures: dict[tuple[str, Header], int]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether training starts."""
        return not any(finding.stops for finding in self.findings)


def examine(
    spec: str,
    data_dir: str | None = None,
    quick: bool = False,
    allow_partial: bool = False,
    pictures: bool = False,
) -> Report:
    """Examines both splits of a source, as the training of a surface with the defaults reads it.

    Args:
      spec: The path of a folder, or `tfds:<name>[/<config>]` for a prepared data set.
      data_dir: Where TFDS keeps its data; its own default if None.
      quick: Look no closer than training does before it starts: very many pictures are not decoded,
        and of very large prepared data sets nothing is read.
      allow_partial: Whether a public data set may be less or more than what was published.
      pictures: Examine only what stage 1 reads, which may be any tree of pictures.
    """
    classes: Counter[tuple[str, str]] = Counter()
    headers: Counter[tuple[str, Header]] = Counter()
    backends: dict[str, Backend] = {}
    findings: list[Finding] = []
    for split in ("train",) if pictures else ("train", "test"):
        try:
            backend = open_backend(
                spec,
                split,
                labelled=not pictures,
                tree=pictures,
                data_dir=data_dir,
                allow_partial=allow_partial,
            )
        except VqadError as error:
            check = "no-test" if isinstance(error, NoTestSplit) else "layout"
            findings.append(Finding(check, spec, str(error)))
            continue
        backends[split] = backend
        findings += backend.findings
        examined = examine_split(backend, split, quick)
        for each in examined:
            classes[split, each.class_name or "unreadable"] += 1
            if each.header:
                headers[split, each.header] += 1
            findings += each.findings
        if split == "test" and not any(finding.stops for finding in backend.findings):
            findings += check_both_labels(backend, examined)
    findings = list(dict.fromkeys(findings))  # what is wrong with the folder shows in both splits
    layout = next(iter(backends.values())).layout if backends else ""
    if len(backends) == 2:
        findings += leaks(backends["train"], backends["test"])
    if not any(finding.stops for finding in findings) and not spec.startswith(TFDS_PREFIX):
        findings += _unused(spec, list(backends.values()))
    return Report(spec, layout, dict(classes), dict(headers), tuple(findings))


def _unused(root: str, backends: list[Backend]) -> list[Finding]:
    used = set()
    for backend in backends:
        for index in range(len(backend)):
            used.update(path for path in backend.read(index)[:2] if path is not None)
    found = sorted(set(files_below(epath.Path(root).expanduser(), strict=False)) - used)
    return [
        Finding("unused", path, f"{path}: belongs to no image of this layout") for path in found
    ]


def to_json(report: Report) -> str:
    """A report as JSON: `source`, `sound`, `layout`, `classes`, `pictures` and `findings`."""
    classes: dict[str, dict[str, int]] = {}
    for (split, name), count in report.classes.items():
        classes.setdefault(split, {})[name] = count
    content: dict[str, Any] = {
        "source": report.source,
        "sound": report.sound,
        "layout": report.layout,
        "classes": classes,
        "pictures": [
            {"split": split, **header._asdict(), "images": count}
            for (split, header), count in report.pictures.items()
        ],
        "findings": [
            {
                **finding._asdict(),
                "stops": finding.stops,
                "training": CHECKS[finding.check].training,
            }
            for finding in report.findings
        ],
    }
    return json.dumps(content, indent=2)


def to_table(report: Report) -> str:
    """A report as aligned text: what, how many, what training does about it, and an example."""
    rows = [("what", "number", "training", "which")]
    rows.append(("layout", "", "", report.layout or "not recognised"))
    rows += [
        (f"{split} images", str(count), "", name) for (split, name), count in report.classes.items()
    ]
    kinds: dict[tuple[str, str, int], list[Header]] = {}
    for (split, header), count in report.pictures.items():
        kinds.setdefault((split, header.mode, header.bits), []).extend([header] * count)
    for (split, mode, bits), headers in kinds.items():
        which = f"{mode}, {bits} bits a channel, {_sizes(headers)}"
        row = (f"{split} pictures", str(len(headers)), "resizes them to config.image_size", which)
        rows.append(row)
    for check, group in grouped(report.findings):
        more = f" (and {len(group) - 1} more)" if len(group) > 1 else ""
        title, training, _ = CHECKS[check]
        rows.append((title, str(len(group)), training, printable(group[0].message) + more))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.insert(1, "-" * (sum(widths[:3]) + 11))
    return "\n".join(lines)


def _sizes(headers: list[Header]) -> str:
    low, high = (
        f"{extreme(h.width for h in headers)} x {extreme(h.height for h in headers)}"
        for extreme in (min, max)
    )
    return f"{low} (width x height)" if low == high else f"{low} to {high} (width x height)"
