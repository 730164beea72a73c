"""What a report page is made of: sections, tables, figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from calkd_edge.records import Measurement, Report
from calkd_edge.release.gates.evidence import labels_of

TEMPLATES = Path(__file__).parent / "templates"

Context = Mapping[str, object]

MOST_COLUMNS = 6
"""Columns of figures that fit beside the first ones in the narrowest window that shows tables as tables."""


@dataclass(frozen=True)
class Section:
    """A section of the report: what it shows, and the template that shows it.

    Attributes:
        name: the anchor of the section on the page.
        title: its heading.
        template: a Jinja file; it sees what `context` returns, and may import from macros.html.j2.
        context: reads the values to show from the report; None leaves the section out.
        folded: whether it is a detail, of which the page shows the heading until it is opened.
    """

    name: str
    title: str
    template: Path
    context: Callable[[Report], Context | None]
    folded: bool = False

    @property
    def anchor(self) -> str:
        """Where its line in the contents leads; a browser opens what is folded around it."""
        return f"{self.name}-content" if self.folded else self.name


@dataclass(frozen=True)
class Table:
    """Column heads, and lines of as many cells.

    Attributes:
        head: of each column.
        lines: of the table.
        keys: first columns that say what a line is about.
        most: columns of figures side by side; a wider table is shown in parts.
    """

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    keys: int = 2
    most: int = MOST_COLUMNS

    @property
    def parts(self) -> list[Table]:
        """Tables of at most `most` columns of figures, each with the first columns."""
        if len(self.head) <= self.keys + self.most:
            return [self]
        starts = range(self.keys, len(self.head), self.most)
        return [
            Table(self._columns(self.head, k), tuple(self._columns(line, k) for line in self.lines))
            for k in starts
        ]

    def _columns(self, line: tuple[str, ...], start: int) -> tuple[str, ...]:
        return line[: self.keys] + line[start : start + self.most]

    def is_words(self, column: int) -> bool:
        """Whether a column holds words: a cell begins with a letter, and none with a digit."""
        first = {line[column][0] for line in self.lines if line[column]}
        return any(c.isalpha() for c in first) and not any(c.isdigit() for c in first)


@dataclass(frozen=True)
class Figure:
    """An inline SVG with its caption."""

    caption: str
    svg: Markup


def packaged(name: str) -> Path:
    """The template of a section that belongs to this package."""
    return TEMPLATES / "sections" / f"{name}.html.j2"


def labelled(report: Report) -> Iterator[tuple[Measurement, str]]:
    """Every measurement with its unique name, in the report's order."""
    return zip(report.measurements, labels_of(report.measurements), strict=True)


def calibrated(report: Report) -> Iterator[tuple[Measurement, str]]:
    """The calibrated measurements with their unique names."""
    return ((m, label) for m, label in labelled(report) if m.calibrated)
