"""Section Plan: the stages of the run, their fingerprints and times."""

from __future__ import annotations

from calkd_edge.records import Report
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, packaged


def _context(report: Report) -> Context | None:
    if not report.plan:
        return None
    return {
        "stages": report.plan,
        "reused": sum(stage.reused for stage in report.plan),
        "seconds": numbers.seconds,
        "total_seconds": numbers.seconds(sum(stage.seconds for stage in report.plan if not stage.reused)),
    }


PLAN = Section("plan", "Plan", packaged("plan"), _context)
