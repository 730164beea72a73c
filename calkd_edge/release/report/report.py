"""The report: one page that needs no network, and the same content as JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from calkd_edge.files import replacing
from calkd_edge.records import Report
from calkd_edge.release.report import confidence_tables, numbers, page, table
from calkd_edge.release.report.definitions import definitions

TEMPLATES = Path(__file__).parent / "templates"
DEFAULT_BINS = 15
JSON_NAME = "report.json"
HTML_NAME = "report.html"

_UNIT = re.compile(r"(\d) (%|ms|kB|MB|GB|bytes|±)")


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write report.json and report.html into `folder`, each whole or not at all; returns both paths.

    The folder is made when it is missing. Equal reports give equal bytes.
    """
    written = []
    for name, text in ((JSON_NAME, render_json(report)), (HTML_NAME, render_html(report))):
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written[0], written[1]


def render_json(report: Report) -> str:
    """report.json as text; `Report.model_validate_json` reads it back."""
    return report.model_dump_json(indent=2) + "\n"


def render_html(report: Report) -> str:
    """The page as text: self-contained, without script; everything from outside is escaped."""
    return environment(autoescape=True).get_template("report.html.j2").render(_content(report))


def environment(*, autoescape: bool) -> Environment:
    """Templates of this room; a name that a template lacks is an error, not an empty string."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["tight"] = _tight
    return made


def _tight(text: str) -> str:
    """Text whose numbers keep their units on the same line."""
    return _UNIT.sub("\\1\u00a0\\2", text)


def _content(report: Report) -> dict[str, Any]:
    return {
        "report": report,
        "style": (TEMPLATES / "report.css").read_text(encoding="utf-8"),
        "summary": page.summary(report),
        "lead": page.LEADS[report.verdict],
        "columns": table.COLUMNS,
        "gates": page.gates(report),
        "rows": table.rows(report),
        "pairs": page.pairs(report),
        "confidences": page.confidences(report),
        "thresholds": confidence_tables.thresholds(report),
        "drift": confidence_tables.drift(report),
        "corruptions": confidence_tables.corruptions(report),
        "methods": confidence_tables.methods(report),
        "further": confidence_tables.further(report),
        "latencies": page.latencies(report),
        "proofs": page.proofs(report),
        "calibrations": page.calibrations(report),
        "facts": page.facts(report),
        "definitions": definitions(
            next((m.quality.bins for m in report.measurements if m.quality), DEFAULT_BINS)
        ),
        "recipe": yaml.safe_dump(report.recipe, sort_keys=False, allow_unicode=True, width=100),
        "seconds": numbers.seconds,
        "total_seconds": numbers.seconds(sum(stage.seconds for stage in report.plan if not stage.reused)),
    }
