"""Section Reliability: a diagram before and after calibration for each file."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from calkd_edge.records import Quality, Report
from calkd_edge.release.gates.evidence import file_key
from calkd_edge.release.report import figures, numbers
from calkd_edge.release.report.section import Context, Figure, Section, calibrated, packaged


@dataclass(frozen=True)
class Panels:
    """The diagrams of one file."""

    title: str
    panels: tuple[Figure, ...]


def _context(report: Report) -> Context | None:
    raw = {file_key(m): m.quality for m in reversed(report.measurements) if not m.calibrated}
    files = []
    for m, label in calibrated(report):
        qualities = (("before", raw.get(file_key(m))), ("after calibration", m.quality))
        panels = tuple(_panel(quality, when, label) for when, quality in qualities if quality is not None)
        if panels:
            files.append(Panels(label, panels))
    return {"files": files} if files else None


def _panel(quality: Quality, when: str, label: str) -> Figure:
    caption = (
        f"{when}: ECE {numbers.percent(quality.ece.value)} ≤ {numbers.percent(quality.ece.high)}, "
        f"chance {numbers.percent(quality.ece_floor)}"
    )
    return Figure(caption, Markup(figures.reliability(quality, title=f"Reliability of {label}, {when}")))


RELIABILITY = Section("reliability", "Reliability", packaged("reliability"), _context)
