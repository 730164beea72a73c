"""The report: one page that needs no network, and the same content as JSON."""

from __future__ import annotations

from pathlib import Path

from calkd_edge.files import replacing
from calkd_edge.records import Report
from calkd_edge.release.report.page import render_html

JSON_NAME = "report.json"
HTML_NAME = "report.html"


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write report.json and report.html into `folder`, each completely or not at all.

    The folder is created when it is missing. Equal reports give equal bytes.

    Returns:
        Both paths.
    """
    paths = folder / JSON_NAME, folder / HTML_NAME
    for path, text in zip(paths, (render_json(report), render_html(report)), strict=True):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


def render_json(report: Report) -> str:
    """report.json as text; `Report.model_validate_json` reads it back."""
    return report.model_dump_json(indent=2) + "\n"
