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


@dataclass(frozen=True)
class Section:
    """A section of the report: what it shows, and the template that shows it.

    Attributes:
        name: the anchor of the section on the page.
        title: its heading.
        template: a Jinja file; it sees what `context` returns, and may import from macros.html.j2.
        context: reads the values to show from the report; None leaves the section out.
    """

    name: str
    title: str
    template: Path
    context: Callable[[Report], Context | None]


@dataclass(frozen=True)
class Table:
    """Column heads, and lines of as many cells."""

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


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
