"""The report of one stored run: cells, figures and numbers of its page, and the keys of its JSON.

golden/report.json is a finished run of the tiny recipe with neutral names for machine and dates;
golden/report.txt is `contents` of its page. Sentences may be reworded; what `contents` lists may not change
unnoticed. After an intended change write `contents(render_html(report))` to golden/report.txt again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from calkd_edge.records import Report
from calkd_edge.release.report.page import render_html

GOLDEN = Path(__file__).parent / "golden"
NUMBER = re.compile(r"(?<![\w.,])(?<![A-Za-z]-)(?:\d[\d.,]*\d|\d)(?!\w)")
EXACT = {"h1", "h2", "h3", "th", "td", "dt", "pre", "summary", "figcaption"}
"""Elements whose text is compared as it is; of any other text only the numbers are."""
COUNTED = {"svg", "figure", "path", "rect", "circle", "table", "tr", "li", "details"}


class Contents(HTMLParser):
    """Collects a page line by line: sections, exact texts, drawn elements, and the numbers of sentences."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.section = ""
        self.open: list[tuple[str, list[str]]] = []
        self.drawn: dict[str, int] = {}
        self.numbers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self.flush()
            self.section = dict(attrs)["id"] or ""
            self.lines.append(f"# {self.section}")
        if tag == "tr":
            self.lines.append("tr:")
        if tag in COUNTED:
            self.drawn[tag] = self.drawn.get(tag, 0) + 1
        if tag in EXACT or (tag == "dd" and self.section == "facts"):
            self.open.append((tag, []))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1][0] == tag:
            text = " ".join("".join(self.open.pop()[1]).split())
            if tag in ("td", "th", "dd"):
                self.lines[-1] += f" {text} |"
            else:
                self.lines.append(f"{tag}: {text}")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.open[-1][1].append(data)
        elif self.lasttag != "style":
            self.numbers += NUMBER.findall(data)

    def flush(self) -> None:
        """Close a section with what it draws and the numbers of its sentences, in no particular order."""
        if self.drawn:
            self.lines.append("drawn: " + ", ".join(f"{n} {tag}" for tag, n in sorted(self.drawn.items())))
        if self.numbers:
            self.lines.append("numbers: " + " ".join(sorted(self.numbers)))
        self.drawn, self.numbers = {}, []


def contents(page: str) -> str:
    """What a page holds, a line each: its sections, cells, figures and numbers."""
    reader = Contents()
    reader.feed(page)
    reader.flush()
    return "\n".join(reader.lines) + "\n"


def leaves(tree: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(key path, JSON type) of every value; elements of a list share the path of the list."""
    kind = "number" if isinstance(tree, int | float) and not isinstance(tree, bool) else type(tree).__name__
    yield path, kind
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}")
    if isinstance(tree, list):
        for value in tree:
            yield from leaves(value, f"{path}[]")


def kinds(tree: object) -> dict[str, set[str]]:
    """Key path -> the types of its values."""
    types: dict[str, set[str]] = {}
    for path, kind in leaves(tree):
        types.setdefault(path, set()).add(kind)
    return types


def test_the_golden_report_renders_to_the_same_cells_figures_and_numbers():
    report = Report.model_validate_json((GOLDEN / "report.json").read_text())
    assert contents(render_html(report)) == (GOLDEN / "report.txt").read_text()


def test_a_fresh_run_writes_every_key_of_the_golden_report_with_its_types(tiny):
    golden, fresh = kinds(json.loads((GOLDEN / "report.json").read_text())), kinds(tiny.report)
    assert not golden.keys() - fresh.keys()
    for path, types in golden.items():
        values = types - {"NoneType"}
        assert not values or fresh[path] - {"NoneType"} in (values, set()), path
