"""Tables of figures: as Markdown for people, as JSON for programs."""

import dataclasses
import math
from collections.abc import Mapping

Rows = Mapping[str, Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Table:
    """What one measurement found.

    Attributes:
      key: its name in the JSON file; the package's docstring says what it means.
      title: one line above it.
      rows: by name of the row, values by name of the column; all rows have the same columns. NaN
        and infinite values are not defined.
      digits: behind the decimal point, for people.
    """

    key: str
    title: str
    rows: Rows
    digits: int = 3

    def markdown(self) -> str:
        """The table with its title, columns aligned."""
        columns = list(next(iter(self.rows.values())))
        cells = [["", *columns]]
        for name, values in self.rows.items():
            cells.append([name, *(self._text(values[column]) for column in columns)])
        cells = [[cell.replace("|", "\\|") for cell in row] for row in cells]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        head, *body = [self._line(row, widths) for row in cells]
        rule = [f"{'-' * (width - 1)}:" for width in widths[1:]]
        rule = "| " + " | ".join(["-" * widths[0], *rule]) + " |"
        return "\n".join([f"## {self.key}: {self.title}", "", head, rule, *body])

    def content(self) -> dict:
        """The table as JSON can hold it; what is not defined is null."""
        rows = {
            name: {
                column: float(value) if math.isfinite(value) else None
                for column, value in values.items()
            }
            for name, values in self.rows.items()
        }
        return {"title": self.title, "rows": rows}

    def _text(self, value: float) -> str:
        return f"{value:.{self.digits}f}" if math.isfinite(value) else "n.d."

    @staticmethod
    def _line(row: list[str], widths: list[int]) -> str:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
        return "| " + " | ".join(cells) + " |"
